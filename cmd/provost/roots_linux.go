package main

import _ "golang.org/x/crypto/x509roots/fallback" // Mozilla's authorities, used where the system has none: a container from scratch
