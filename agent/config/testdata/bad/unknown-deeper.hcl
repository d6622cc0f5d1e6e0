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

timing {
  intervall = "1s"
}

control_sock = "/x"

guard "one" {
}

timing {
  lease = "3s"
}

quorum {
}

log {
  colour = true
}
