//go:build unix

package command

import (
	"os/exec"
	"syscall"
)

// alone gives the program a process group of its own, so that its child
// processes end with it: when its time is over, and when end is called after it
// has ended. Processes that leave the group, as a daemon does, survive.
func alone(cmd *exec.Cmd) (end func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return func() {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // usually, no process is left
		}
	}
}
