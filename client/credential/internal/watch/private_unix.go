//go:build unix

package watch

import "io/fs"

// othersWrite reports whether users beside the owner can write the file, by its
// mode. Who may only read it is the operator's judgement: Kubernetes mounts
// secrets readable to all of a container.
func othersWrite(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }
