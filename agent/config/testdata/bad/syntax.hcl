cluster {
  name = "lab
