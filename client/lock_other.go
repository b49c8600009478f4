//go:build !darwin && !dragonfly && !freebsd && !illumos && !linux && !netbsd && !openbsd && !windows

package client

import (
	"errors"
	"io/fs"
	"os"
)

func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }

func private(fs.FileInfo) error { return errors.ErrUnsupported }
