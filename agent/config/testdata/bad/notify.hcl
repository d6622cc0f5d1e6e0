cluster {
  name = "lab"
  uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
}

host "alpha" {
  id        = 1
  heartbeat = "192.0.2.1"
}

datastore "nfs" {
  path = "/mnt/nfs"
  uuid = "11111111-2222-4333-8444-555555555555"
}

notify "mail" {
  events   = ["host-died"]
  severity = "fatal"
  command  = ["mail"]
  timeout  = "1h"
  rate     = "10 per minute"
}

notify "mail" {
  rate = "0/m"
}

metrics {
  address = "localhost:80"
}
