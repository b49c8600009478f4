//go:build unix

package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"os"
)

// contents notices that another program has written into the database's files in
// place, such as a backup that was copied over an open database. SQLite would
// not: it keeps in memory what it last read, and its next checkpoint writes that
// into a file of another time.
//
// In WAL mode the database's file changes in checkpoints only, and the log's index
// shows those, of whatever process. So two pages of the file that nearly every
// write changes are read at each check: while the index shows no checkpoint since
// the last check, they must be the same. After a checkpoint, the pages that it
// copied must be as they are in the log, and those that an earlier one copied as
// they were. See "WAL-Mode File Format" in the SQLite documentation.
type contents struct {
	database, index *os.File
	totals          int64 // the number of their page
	pageSize        int64
	// close is for when SQLite has closed the database, and opening is locked.
	close func() error
	// last is the index at the last check.
	last indexHeader
	// known are the pages at the last check, and the index then; nil when a
	// checkpoint was in progress.
	known *knownPages
	spare []byte // for the next pages
	// copied are hashes of the pages that were copied last, and the index then.
	copied   map[int64]uint64
	copiedAt indexHeader
}

type knownPages struct {
	index indexHeader
	pages []byte
	size  int64 // of the database's file
}

// indexHeader is what the index of a log says of the log.
type indexHeader struct {
	changes  uint32    // how many transactions there were
	frames   uint32    // how many pages the log has, of whole transactions
	pages    uint32    // how many the database has, with those of the log
	salts    [8]byte   // of this generation of the log
	checksum [2]uint32 // of the last frame
	// copied is how many frames are in the database's file, and copying of how
	// many a checkpoint has begun to copy.
	copied, copying uint32
}

const frameHeader = 24

// header reads the index; false when it is just being written.
func (c *contents) header() (indexHeader, bool) {
	var b [136]byte
	if _, err := c.index.ReadAt(b[:], 0); err != nil || !bytes.Equal(b[:48], b[48:96]) {
		return indexHeader{}, false
	}
	order := binary.NativeEndian
	return indexHeader{
		changes: order.Uint32(b[8:]), frames: order.Uint32(b[16:]), pages: order.Uint32(b[20:]),
		salts: [8]byte(b[32:40]), checksum: [2]uint32{order.Uint32(b[24:]), order.Uint32(b[28:])},
		copied: order.Uint32(b[96:]), copying: order.Uint32(b[128:]),
	}, true
}

// settled reports that no checkpoint is in progress, and none failed midway.
func (h indexHeader) settled() bool { return h.copied == h.copying }

// leads reports whether no checkpoint can have written between two states of the
// index.
func (h indexHeader) leads(to indexHeader) bool {
	if !to.settled() {
		return false
	}
	if h.salts == to.salts {
		return h.copied == to.copied
	}
	// The log began anew, which it does once all of it is copied. Nothing was
	// appended and copied before that if all transactions since are in it.
	since := uint32(0)
	if to.frames > 0 {
		since = 1
	}
	return h.copied == h.frames && to.copied == 0 && to.changes-h.changes == since
}

// wentBack reports whether the index is an older one than before: the number of
// transactions grows.
func (h indexHeader) wentBack(to indexHeader) bool { return int32(to.changes-h.changes) < 0 }

// recovered reports whether the index was made from the log, which a program that
// was killed has left: then what is in the database's file is unknown until the
// next checkpoint.
func (c *contents) recovered() bool {
	h, ok := c.header()
	return ok && !h.settled()
}

// databaseChanged reports whether the database's file has changed, and no
// checkpoint did that.
func (c *contents) databaseChanged(log io.ReaderAt) bool {
	before, ok := c.header()
	if !ok {
		return false
	}
	pages := c.page(c.page(c.spare[:0], 1), c.totals)
	size, err := c.database.Seek(0, io.SeekEnd)
	after, ok := c.header()
	if !ok || err != nil {
		return false
	}
	if c.last.wentBack(after) {
		return true
	}
	c.last = after
	if c.known != nil && c.known.index.leads(after) {
		c.known.index = after
		if c.copiedAt.leads(after) {
			c.copiedAt = after
		}
		return c.known.size != size || !bytes.Equal(c.known.pages, pages)
	}
	c.known = nil // where the index changes just now, the next check compares
	if !before.leads(after) {
		return false
	}
	wrong, done := c.reconcile(before, log)
	if done && !wrong {
		c.known = &knownPages{before, pages, size}
		c.spare = make([]byte, 0, cap(pages))
	}
	return done && wrong
}

// page appends a page of the database's file; zeros where the file ends before
// it, since its size is judged elsewhere.
func (c *contents) page(to []byte, number int64) []byte {
	end := len(to) + int(c.pageSize)
	n, _ := c.database.ReadAt(to[len(to):end], (number-1)*c.pageSize)
	clear(to[len(to)+n : end])
	return to[:end]
}

// mostCopied bounds the pages whose hashes are kept, and the frames that are read
// after a checkpoint.
const mostCopied = 256

// reconcile reports whether one of the pages that checkpoints copied last is not
// in the database's file, and whether that could be seen. SQLite copies the newest
// frame of each page alone.
func (c *contents) reconcile(is indexHeader, log io.ReaderAt) (wrong, done bool) {
	frame, page := make([]byte, frameHeader+c.pageSize), make([]byte, 0, c.pageSize)
	copied, newer := map[int64]uint64{}, map[int64]bool{}
	n := is.frames
	for ; n > 0 && is.frames-n < mostCopied; n-- {
		if _, err := log.ReadAt(frame, c.frame(n)); err != nil {
			return false, false // the log is judged elsewhere
		}
		number := int64(binary.BigEndian.Uint32(frame))
		if number > int64(is.pages) || newer[number] {
			continue
		}
		newer[number] = true
		if n <= is.copied {
			copied[number] = maphash.Bytes(seed, frame[frameHeader:])
			wrong = wrong || !bytes.Equal(c.page(page, number), frame[frameHeader:])
		}
	}
	// Those that an earlier checkpoint copied are as they were, unless another has
	// copied a newer frame since: in this generation of the log, the frames up to
	// where that one ended were read.
	if c.copiedAt.salts == is.salts && n <= c.copiedAt.copied {
		for number, hash := range c.copied {
			switch {
			case newer[number] || number > int64(is.pages):
				continue
			case maphash.Bytes(seed, c.page(page, number)) != hash:
				wrong = true
			case len(copied) < mostCopied:
				copied[number] = hash
			}
		}
	}
	after, ok := c.header()
	if !ok || after.salts != is.salts || !is.leads(after) {
		return false, false
	}
	c.copied, c.copiedAt = copied, is
	return wrong, true
}

var seed = maphash.MakeSeed()

// frame is where a frame of the log begins.
func (c *contents) frame(number uint32) int64 { return 32 + int64(number-1)*(frameHeader+c.pageSize) }

// logChanged reports whether a log does not begin and end as its index says.
func (c *contents) logChanged(log io.ReaderAt) bool {
	before, ok := c.header()
	if !ok || before.frames == 0 {
		return false
	}
	var first, last [frameHeader]byte
	_, err1 := log.ReadAt(first[:], 0)
	_, err2 := log.ReadAt(last[:], c.frame(before.frames))
	after, ok := c.header()
	if !ok || after.salts != before.salts || after.frames != before.frames {
		return false
	}
	if err := errors.Join(err1, err2); err != nil {
		return errors.Is(err, io.EOF)
	}
	return [8]byte(first[16:]) != before.salts || [8]byte(last[8:]) != before.salts ||
		binary.BigEndian.Uint32(last[16:]) != before.checksum[0] || binary.BigEndian.Uint32(last[20:]) != before.checksum[1]
}

// held are the files that contents reads, by their identity, and how many Stores
// read each: closing one drops the locks that SQLite has on it for any Store of
// this process. opening guards it.
var held = map[identity]*holder{}

// isHeld reports whether this process has a file open. opening is locked.
func isHeld(is identity) bool { return held[is] != nil }

type holder struct {
	file  *os.File
	users int
}

// hold opens a file unless it is held already.
func hold(name string) (identity, *os.File, error) {
	is, _, err := identify(name)
	if err != nil {
		return is, nil, err
	}
	h := held[is]
	if h == nil {
		f, err := os.Open(name)
		if err != nil {
			return is, nil, err
		}
		h = &holder{file: f}
		held[is] = h
	}
	h.users++
	return is, h.file, nil
}

// release ends a hold once SQLite has closed the file.
func release(is identity) error {
	h := held[is]
	if h.users--; h.users > 0 {
		return nil
	}
	delete(held, is)
	return h.file.Close()
}

// readContents holds the files of a database that SQLite has open, whose pages have
// pageSize bytes; page is the one with the totals. opening is locked.
func readContents(names [3]string, page, pageSize int64) (c *contents, err error) {
	c = &contents{totals: page, pageSize: pageSize, spare: make([]byte, 0, 2*pageSize)}
	var is [2]identity
	if is[0], c.database, err = hold(names[0]); err != nil {
		return nil, err
	}
	if is[1], c.index, err = hold(names[2]); err != nil {
		return nil, errors.Join(err, release(is[0]))
	}
	c.close = func() error { return errors.Join(release(is[0]), release(is[1])) }
	return c, nil
}
