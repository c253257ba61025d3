# A web server that greets, and counts the seconds in its log. `./x demo` runs it.

variable "image" {
  type    = string
  default = "longshore/demo:1"
}

variable "greeting" {
  type    = string
  default = "Hello from Longshore"
}

job "web" {
  datacenters = ["dc1"]

  group "front" {
    network {
      port "http" {
        to = 8080
      }
    }

    restart {
      attempts = 2
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }

    service {
      name = "web"
      port = "http"
    }

    task "server" {
      driver       = "docker"
      kill_timeout = "5s"

      config {
        image   = var.image
        command = "/bin/sh"
        args    = ["${NOMAD_TASK_DIR}/serve.sh"]
        ports   = ["http"]
        init    = false
      }

      env {
        GREETING = upper(substr(var.greeting, 0, 1)) == substr(var.greeting, 0, 1) ? var.greeting : title(var.greeting)
      }

      template {
        destination = "local/www/index.html"
        data        = <<-EOF
          {{ env "GREETING" }}: {{ env "NOMAD_ALLOC_NAME" }} listens on {{ env "NOMAD_ADDR_http" }}
        EOF
      }

      template {
        destination = "local/serve.sh"
        data        = <<-EOF
          trap 'echo "got SIGUSR1"' USR1
          trap 'echo "bye"; exit 0' TERM INT
          httpd -p "$NOMAD_PORT_http" -h /local/www
          n=0
          while :; do
            n=$((n + 1))
            echo "second $n"
            sleep 1 &
            wait $!
          done
        EOF
      }

      resources {
        cpu    = 100
        memory = 32
      }

      logs {
        max_files     = 2
        max_file_size = 1
      }

      constraint {
        attribute = "${attr.kernel.name}"
        value     = "linux"
      }
    }
  }
}
