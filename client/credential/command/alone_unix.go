//go:build unix

package command

import (
	"os/exec"
	"syscall"
)

// alone gives the program a process group of its own, so that what it starts ends
// with it: when its time is over, and at the call of end after it has ended. What
// leaves the group, as a daemon does, lives on.
func alone(cmd *exec.Cmd) (end func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return func() {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // mostly, nobody is left
		}
	}
}
