//go:build !linux && !darwin

package main

import "github.com/provosthq/provost/host/api"

// checkRoom and checkLimits know nothing of this system.
func checkRoom(name, dir string) api.Check {
	return api.Check{Name: name, Status: api.CheckOK, Reason: dir + ": how much is free is not known here"}
}

func checkLimits() []api.Check { return nil }
