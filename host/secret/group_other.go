//go:build !unix

package secret

import "os/exec"

// group leaves the command alone: only it is ended.
func group(*exec.Cmd) {}
