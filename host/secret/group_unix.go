//go:build unix

package secret

import (
	"os/exec"
	"syscall"
)

// group makes a command and all that it starts end together.
func group(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
}
