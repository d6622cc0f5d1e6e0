cluster {
  name = "lab"
  uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
}

host "alpha" {
  id        = 1
  heartbeat = "192.0.2.1"
}

host "alpha" {
  id         = 1
  heartbeat  = "192.0.2.1:7480"
  management = "192.0.2.1:7481"
}

datastore "one" {
  path = "/mnt/one"
  uuid = "11111111-2222-4333-8444-555555555555"
}

datastore "one" {
  path = "/mnt/../mnt/one/"
  uuid = "11111111-2222-4333-8444-555555555555"
}

isolation {
  addresses = ["192.0.2.254", "192.0.2.254", "192.0.2.1"]
}

hypervisor {
  drivers = ["qemu", "qemu", "xen"]
}
