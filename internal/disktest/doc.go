// Package disktest provides a disk for tests whose power can be cut. After kill
// -9, everything that a process wrote is still in the page cache, so a missing
// sync goes unnoticed; a Disk loses what was not synced.
//
// A Disk is a FUSE file system that is served by a process of its own: the test,
// the programs that it starts and their memory maps use it like any other. It keeps
// its files in memory, and for each file both the content on the disk and the
// content in the page cache. fsync and fdatasync of a file put its content on the
// disk, fsync of a directory puts its entries there; neither does both, because
// POSIX promises no more. The entries of a directory reach the disk in the order of
// their changes, as with a journal; the writes to a file reach it in any order or
// not at all, in sectors of 512 bytes.
package disktest
