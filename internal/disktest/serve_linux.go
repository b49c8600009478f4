package disktest

import (
	"bufio"
	"fmt"
	"io/fs"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// disk is the state of all files. mu guards it and them.
type disk struct {
	mu      sync.Mutex
	changes int
	// cutAt and failAt are the numbers of changes; -1 for none.
	cutAt, failAt int
	off           bool
	root          *folder
	say           func(string)
}

// serve is the process of a disk: it mounts the disk, runs the commands on its
// standard input, and ends with the input.
func serve(mount, from string) int {
	var output sync.Mutex
	d := &disk{cutAt: -1, failAt: -1, say: func(line string) {
		output.Lock()
		defer output.Unlock()
		fmt.Println(line)
	}}
	d.root = d.newFolder(0o700)
	second := time.Second
	server, err := fusefs.Mount(mount, d.root, &fusefs.Options{
		EntryTimeout: &second, AttrTimeout: &second, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		MountOptions: fuse.MountOptions{
			FsName: "disktest", Name: "disktest", DirectMount: true,
			Options: []string{"default_permissions"}, Logger: log.New(os.Stderr, "", 0),
		},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if server.Unmount() != nil {
			_ = detach(mount)
		}
	}()
	if from != "" {
		if err := d.load(mount, from); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	d.say("mounted")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		d.say(d.command(lines.Text()))
	}
	return 0
}

// command runs the command in a line, and returns the answer.
func (d *disk) command(line string) string {
	var n int
	var seed uint64
	var dir string
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := fmt.Sscanf(line, "cut %d", &n); err == nil {
		if d.cutAt = d.changes + n; n == 0 {
			d.cut()
		}
		return "planned"
	}
	if _, err := fmt.Sscanf(line, "fail %d", &n); err == nil {
		d.failAt = d.changes + n
		return "planned"
	}
	if _, err := fmt.Sscanf(line, "save %d %s", &seed, &dir); err == nil {
		if err := d.root.save(newFate(seed), dir); err != nil {
			return err.Error()
		}
		return "saved"
	}
	return fmt.Sprint(d.changes)
}

func (d *disk) cut() {
	if !d.off {
		d.off = true
		go d.say("off") // its reader may wait for mu
	}
}

// change counts a change, and returns the error that it must fail with.
func (d *disk) change() syscall.Errno {
	n := d.changes
	d.changes++
	if n == d.cutAt {
		d.cut()
	}
	if d.off || n == d.failAt {
		return syscall.EIO
	}
	return 0
}

// load copies a directory to the disk.
func (d *disk) load(mount, from string) error {
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil || name == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.Mkdir(filepath.Join(mount, name), info.Mode().Perm())
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(mount, name), text, info.Mode().Perm())
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.root.sync()
	d.changes = 0
	return err
}

// fate decides which unsynced changes survive.
type fate struct {
	seed uint64
	*rand.Rand
}

func newFate(seed uint64) *fate { return &fate{seed, rand.New(rand.NewPCG(seed, 0))} }

// some returns how many of n changes in a row have reached the disk.
func (f *fate) some(n int) int {
	switch f.seed {
	case 0:
		return 0
	case 1:
		return n
	}
	return f.IntN(n + 1)
}
