self = gamma

control_socket = null

cluster {
  name     = "no spaces please"
  uuid     = "6ba7b810"
  key_file = ""
}

host "alpha" {
  id        = 0
  heartbeat = "storage-host.example"
}

host "beta" {
  id        = 1.5
  heartbeat = "0.0.0.0"
}

host "-gamma" {
  id        = "3"
  heartbeat = "192.0.2.3:0"
}

host "delta" {
  id = 1001
}

datastore "none" {
  path = ""
}

datastore "both" {
  path              = "/mnt/both"
  uuid              = "11111111-2222-4333-8444-555555555555"
  preferred         = "yes"
  excluded          = true
  write_barrier     = "locks"
}

datastore "contrary" {
  path              = "/mnt/contrary"
  uuid              = "11111111-2222-4333-8444-666666666666"
  preferred         = true
  excluded          = true
  write_barrier     = "lock"
  accept_no_barrier = true
}

timing {
  profile  = "quick"
  interval = 1
  lease    = "4 s"
}

heartbeat {
  datastores = 6
  threshold  = 101
}

isolation {
  addresses = "192.0.2.254"
  response  = "explode"
}

hypervisor {
  drivers         = []
  parallel_starts = 0
  memory          = "120%"
}

guard {
  socket = "/a/very/long/path/that/no/kernel/accepts/for/a/unix/socket/because/it/has/more/than/one/hundred/and/seven/bytes.sock"
  spawn  = 1
}

machine_defaults {
  priority  = 6
  attempts  = -1
  limit     = 99999999999999999999999
  window    = "1ms"
  stop_time = "2d"
}

log {
  level  = "loud"
  format = ["text"]
}
