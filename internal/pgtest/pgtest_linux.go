// Package pgtest runs private PostgreSQL servers for tests, from the system's
// packages: each in a temporary directory, on a free port of 127.0.0.1, and as an
// unprivileged user.
package pgtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Server is a PostgreSQL server.
type Server struct {
	// Port is where it listens on 127.0.0.1. Its superuser is "owner", without a
	// password.
	Port int
	dir  string
	cmd  *exec.Cmd
	// exited is closed when the process has ended.
	exited chan struct{}
}

// Config are the settings that differ from those of initdb. They make a server
// small and change nothing of what it keeps.
const Config = `
max_connections = 200
shared_buffers = 32MB
max_wal_size = 64MB
min_wal_size = 32MB
listen_addresses = '127.0.0.1'
logging_collector = off
`

// Start makes a server and starts it. The caller stops it.
func Start() (s *Server, err error) {
	dir, err := os.MkdirTemp(memory(), "pg")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	s = &Server{dir: dir}
	init, err := s.command("initdb", "-D", s.data(), "-U", "owner", "-A", "trust", "-E", "UTF8", "--no-sync", "--wal-segsize=1")
	if err != nil {
		return nil, err
	}
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(Config + "unix_socket_directories = '" + dir + "'\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return s, s.Run()
}

// memory is a directory in memory, where a sync costs little; "" for that of
// temporary files if there is no such directory, or little room.
func memory() string {
	const dir, room = "/dev/shm", 512 << 20
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || uint64(fs.Bavail)*uint64(fs.Bsize) < room {
		return ""
	}
	return dir
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Run starts a server that was stopped or killed, on a new port if it has none.
func (s *Server) Run() error {
	if s.Port == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.Port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return err
		}
	}
	cmd, err := s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(s.Port))
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	s.cmd, s.exited = cmd, exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	return s.await(exited)
}

// await returns when the server answers.
func (s *Server) await(exited chan struct{}) error {
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := db.PingContext(ctx)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-exited:
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("postgres did not start: %s", text)
		case <-tick.C:
		}
	}
}

// URL is that of a database.
func (s *Server) URL(database string) string {
	return fmt.Sprintf("postgres://owner@127.0.0.1:%d/%s?sslmode=disable", s.Port, database)
}

// Kill ends the server without any warning, as kill -9 does: the processes of its
// connections too.
func (s *Server) Kill() {
	children := s.children()
	_ = s.cmd.Process.Kill()
	<-s.exited
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, pid := range children { // the next server waits for none of them
		for syscall.Kill(pid, 0) == nil && !zombie(pid) {
			runtime.Gosched()
		}
	}
}

// children are the processes of the server.
func (s *Server) children() (all []int) {
	list, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range list {
		if pid, fields := stat(file); len(fields) > 1 && fields[1] == strconv.Itoa(s.cmd.Process.Pid) {
			all = append(all, pid)
		}
	}
	return all
}

func zombie(pid int) bool {
	_, fields := stat(fmt.Sprintf("/proc/%d/stat", pid))
	return len(fields) == 0 || fields[0] == "Z"
}

// stat reads a process's state and what follows it (proc(5)).
func stat(file string) (pid int, fields []string) {
	text, _ := os.ReadFile(file)
	before, after, _ := strings.Cut(string(text), " (")
	pid, _ = strconv.Atoi(before)
	return pid, strings.Fields(after[strings.LastIndexByte(after, ')')+1:])
}

// Stop ends the server at once, and removes its directory.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGINT) // disconnects everybody
	<-s.exited
	return os.RemoveAll(s.dir)
}

var databases atomic.Int64

// Database makes an empty database, and returns its URL. It is dropped at the end
// of the test.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", databases.Add(1))
	s.Exec(t, "postgres", "CREATE DATABASE "+name)
	t.Cleanup(func() { s.Exec(t, "postgres", "DROP DATABASE "+name+" WITH (FORCE)") })
	return s.URL(name)
}

// Exec runs a statement as the superuser.
func (s *Server) Exec(t testing.TB, database, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", s.URL(database))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// command is one of PostgreSQL's programs, run by the user of the directory.
func (s *Server) command(name string, args ...string) (*exec.Cmd, error) {
	path, err := Program(name)
	if err != nil {
		return nil, err
	}
	return Unprivileged(exec.Command(path, args...), s.dir)
}

// Unprivileged has a command run in a directory, which becomes that of the user who
// runs it: not root.
func Unprivileged(cmd *exec.Cmd, dir string) (*exec.Cmd, error) {
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PG") }), "LC_ALL=C.UTF-8")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() != 0 {
		return cmd, nil
	}
	uid, gid, err := unprivileged()
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	return cmd, os.Chown(dir, int(uid), int(gid))
}

// Program is the path of one of PostgreSQL's programs, of the newest version.
func Program(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // Debian's
	if err == nil && len(found) > 0 {
		slices.Sort(found)
		return found[len(found)-1], nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%w: install PostgreSQL, as 'make needs' does", err)
	}
	return path, nil
}

func unprivileged() (uid, gid uint32, err error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, err
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return 0, 0, err
	}
	group, err := strconv.ParseUint(u.Gid, 10, 32)
	return uint32(id), uint32(group), err
}
