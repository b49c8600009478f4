package fleet_test

import (
	"os/exec"
	"syscall"
)

// tied has cmd end with the test, however that ends.
func tied(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
