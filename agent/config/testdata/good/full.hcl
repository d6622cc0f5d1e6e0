self            = "alpha"
run_directory   = "/run/sb"
state_directory = "state"
control_socket  = "/run/sb/agent.sock"

cluster {
  name     = "lab"
  uuid     = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
  key_file = "keys/lab.key"
}

host "alpha" {
  id         = 1
  heartbeat  = "192.0.2.1"
  management = "198.51.100.1:9000"
}

host "beta" {
  id        = 7
  heartbeat = "[2001:db8::2]:7777"
}

datastore "nfs" {
  path      = "/mnt/nfs/"
  uuid      = "11111111-2222-4333-8444-555555555555"
  preferred = true
}

datastore "scratch" {
  path              = "/mnt/scratch"
  uuid              = "11111111-2222-4333-8444-666666666666"
  excluded          = true
  write_barrier     = "none"
  accept_no_barrier = true
}

timing {
  profile  = "fast"
  takeover = "3s"
}

heartbeat {
  datastores = 3
  threshold  = 60
}

isolation {
  addresses = ["192.0.2.254", "2001:db8::ff"]
  response  = "shut down"
}

hypervisor {
  drivers         = ["qemu"]
  libvirt_uri     = "qemu+unix:///system?socket=/run/lv.sock"
  cgroup_root     = "/sys/fs/cgroup/machines.slice"
  parallel_starts = 8
  memory          = "48GiB"
}

guard {
  socket   = "/run/sb/g.sock"
  watchdog = "/dev/watchdog"
  spawn    = false
}

machine_defaults {
  priority           = 2
  restart            = false
  attempts           = 0
  limit              = 3
  window             = "5m"
  stop_time          = "90s"
  on_guest_shut_down = "start again"
  on_host_shutdown = "wait"
  reboot_wait = "5m"
  pause       = "stop then freeze"
}

log {
  level  = "debug"
  format = "json"
}

metrics {
  address = "0.0.0.0:9100"
}

notify "mail" {
  events   = ["host-dead", "machine-held"]
  severity = "error"
  command  = ["/usr/local/bin/mail-event", "ops@example.org"]
  timeout  = "5s"
  rate     = "20/h"
}

notify "chat" {
  command = ["/opt/chat"]
}
