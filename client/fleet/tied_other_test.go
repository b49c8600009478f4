//go:build !linux

package fleet_test

import "os/exec"

// tied is for Linux; elsewhere a test that is killed leaves its processes.
func tied(*exec.Cmd) {}
