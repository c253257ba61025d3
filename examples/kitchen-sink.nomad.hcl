# Every option of a task that needs neither the operator's leave nor a network of one's own: forty of them at once. The task
# tells what it sees, and then serves it.

variable "image" {
  type    = string
  default = "longshore/demo:1"
}

job "kitchen-sink" {
  datacenters = ["dc1"]

  group "kitchen" {
    network {
      port "http" {
        to = 8080
      }
    }

    restart {
      attempts = 0
      mode     = "fail"
    }

    task "sink" {
      driver       = "docker"
      user         = "nobody"
      kill_timeout = "5s"

      config {
        # What runs.
        image              = var.image
        image_pull_timeout = "1m"
        force_pull         = false
        auth_soft_fail     = true
        entrypoint         = ["/bin/sh"]
        command            = "${NOMAD_TASK_DIR}/tell.sh"
        args               = ["one", "two words"]
        work_dir           = "/tmp"
        hostname           = "kitchen"
        init               = true
        interactive        = true
        tty                = false
        group_add          = ["1234"]

        container_exists_attempts = 3

        healthchecks {
          disable = true
        }

        labels {
          example = "kitchen-sink"
        }

        logging {
          type = "json-file"
          config {
            max-file = "3"
            max-size = "1m"
          }
        }

        # What it may use.
        cpu_hard_limit    = true
        cpu_cfs_period    = 100000
        memory_hard_limit = 128
        oom_score_adj     = 300
        pids_limit        = 50
        shm_size          = 1048576

        ulimit {
          nofile = "100:200"
          core   = "0"
        }

        sysctl = {
          "net.ipv4.ip_default_ttl" = "33"
        }

        # What it may do.
        runtime         = "runc"
        cgroupns        = "private"
        readonly_rootfs = true
        cap_add         = ["chown"]
        cap_drop        = ["mknod", "setuid"]
        security_opt    = ["no-new-privileges"]

        devices {
          host_path          = "/dev/null"
          container_path     = "/dev/nothing"
          cgroup_permissions = "rw"
        }

        # What it sees of the host.
        volumes = ["local/pantry:/pantry:ro"]

        mount {
          type     = "bind"
          source   = "local/shelf"
          target   = "/shelf"
          readonly = true

          bind_options {
            propagation = "rprivate"
          }
        }

        mount {
          type   = "tmpfs"
          target = "/tmp"

          tmpfs_options {
            size = 2097152
            mode = 1023 # 1777 in octal
          }
        }

        # Its place in the network.
        network_mode       = "bridge"
        ports              = ["http"]
        dns_servers        = ["10.1.1.1"]
        dns_search_domains = ["corp"]
        dns_options        = ["ndots:2"]
        extra_hosts        = ["db:10.0.0.9"]
      }

      env {
        GREETING = "Hello from the kitchen"
      }

      template {
        destination = "local/tell.sh"
        data        = <<-EOF
          mkdir /tmp/www
          {
            echo "greeting: $GREETING"
            echo "arguments: $# $2"
            echo "directory: $(pwd)"
            echo "name: $(hostname)"
            echo "groups: $(id -G)"
            echo "init: $(readlink /proc/1/exe)"
            echo "files: $(ulimit -n) $(ulimit -Hn)"
            echo "core: $(ulimit -c)"
            echo "oom: $(cat /proc/self/oom_score_adj)"
            echo "ttl: $(cat /proc/sys/net/ipv4/ip_default_ttl)"
            echo "shm: $(df -k /dev/shm | awk 'END { print $2 }')"
            echo "tmp: $(df -k /tmp | awk 'END { print $2 }') $(stat -c %a /tmp)"
            echo "root: $(touch /x 2>&1)"
            echo "pantry: $(cat /pantry/bread) $(touch /pantry/x 2>&1)"
            echo "shelf: $(cat /shelf/tea) $(touch /shelf/x 2>&1)"
            echo "privileges: $(awk '/NoNewPrivs/ { print $2 }' /proc/self/status)"
            echo "device: $(echo gone >/dev/nothing && echo written)"
            echo "resolver: $(grep -v '^#' /etc/resolv.conf | tr '\n' ' ')"
            echo "db: $(awk '$2 == "db" { print $1 }' /etc/hosts)"
          } | tee /tmp/www/index.html
          echo told
          exec httpd -f -p "$NOMAD_PORT_http" -h /tmp/www
        EOF
      }

      template {
        destination = "local/pantry/bread"
        data        = "bread"
      }

      template {
        destination = "local/shelf/tea"
        data        = "tea"
      }

      resources {
        cpu        = 500
        memory     = 64
        memory_max = 96
      }
    }
  }
}
