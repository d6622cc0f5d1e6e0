cluster {
  name = "lab"
  uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
}

host "alpha" {
  id        = 1
  heartbeat = "192.0.2.1"
}

datastore "only" {
  path = "/mnt/only"
  uuid = "11111111-2222-4333-8444-555555555555"
}

self = upper("alpha")
log {
  level = "${var.level}"
  format = 1 + 1
}
guard {
  spawn = !true
  socket = <<E
/x
E
}
