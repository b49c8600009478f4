package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// CheckPlace tests what a database that several processes open needs of its
// directory: locks that exclude another process, memory that two processes
// share through a file, and writes that are synced. It works on a temporary
// file of its own. Call it before Open in a server: the error says what does
// not work and what to do. Doubt reports what cannot be tested.
func CheckPlace(path string) error {
	if err := checkPlace(path); err != nil {
		return fmt.Errorf("the directory of the database %s: %w", path, err)
	}
	return nil
}

func checkPlace(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".counterfoil-probe-*")
	if err != nil {
		return explain(err)
	}
	other, err := os.OpenFile(probe.Name(), os.O_RDWR, 0)
	err = errors.Join(err, os.Remove(probe.Name()))
	if err == nil {
		err = try(probe, other)
	}
	_ = probe.Close()
	_ = other.Close() // Close accepts nil, when it was not opened
	return err
}

// The faults of a directory, with the next action.
var (
	errLocks  = errors.New("locks do not exclude another process here, so that two would damage the database: put it on a local disk")
	errShared = errors.New("processes cannot share memory through a file here, as the write-ahead log needs it: " +
		"put the database on a local disk")
	errSync = errors.New("what is written cannot be synced to the disk here, so that it would be lost with the " +
		"power: put the database on a local disk")
)

// Doubt describes what may be wrong with the directory of a database and
// cannot be tested, such as that it is on another machine's disk; "" for
// nothing.
func Doubt(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	return doubts[kindOf(filepath.Dir(path))].doubt(path)
}

// kind is a kind of file system, by its number in Linux.
type kind int64

// doubts are the doubts about kinds of file systems.
var doubts = map[kind]doubt{
	0x6969: network("NFS"), 0x517b: network("SMB"), 0xfe534d42: network("SMB"), 0xff534d42: network("CIFS"), 0x01021997: network("9P"),
	0x00c36400: network("Ceph"), 0x5346414f: network("AFS"), 0x73757245: network("Coda"), 0x0bd00bd0: network("Lustre"),
	0x47504653: network("GPFS"),
	0x786f4256: network("VirtualBox"), 0xbacbacbc: network("VMware"),
	0x65735546: "a file system of FUSE, whose locks and syncs are as good as the program behind it: " +
		"put it on a local disk, or be sure of that program",
	0x794c7630: "an overlay, as the files of a container are: what is written may be gone with the container, so put it on a volume",
}

type doubt string

func network(name string) doubt {
	return doubt("a file system of another machine (" + name + "), where locks and syncs may not hold: put it on " +
		"a local disk, and let no other machine open it")
}

func (d doubt) doubt(path string) string {
	if d == "" {
		return ""
	}
	return fmt.Sprintf("the database %s is on %s", path, string(d))
}
