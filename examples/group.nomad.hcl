# A web server and a sidecar that asks it over the localhost that they share. `./x demo --group` runs it.

variable "image" {
  type    = string
  default = "longshore/demo:1"
}

job "group" {
  datacenters = ["dc1"]

  group "front" {
    network {
      mode     = "bridge"
      hostname = "front"

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

    task "web" {
      driver       = "docker"
      kill_timeout = "5s"

      config {
        image   = var.image
        command = "/bin/sh"
        args    = ["-c", "trap exit TERM; httpd -f -p $NOMAD_PORT_http -h /local/www & wait"]
      }

      template {
        destination = "local/www/index.html"
        data        = <<-EOT
          Hello from the group {{ env "NOMAD_GROUP_NAME" }}
        EOT
      }

      resources {
        cpu    = 100
        memory = 32
      }
    }

    task "poll" {
      driver       = "docker"
      kill_timeout = "5s"

      lifecycle {
        hook    = "poststart"
        sidecar = true
      }

      config {
        image   = var.image
        command = "/bin/sh"
        args    = ["${NOMAD_TASK_DIR}/poll.sh"]
      }

      template {
        destination = "local/poll.sh"
        data        = <<-EOT
          trap exit TERM
          until answer=$(wget -q -O - http://localhost:8080/); do sleep 0.1; done
          echo "localhost answers: $answer"
          grep front /etc/hosts
          while :; do
            sleep 5 &
            wait $!
            wget -q -O - http://localhost:8080/
          done
        EOT
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }
}
