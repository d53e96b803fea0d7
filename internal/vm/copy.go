package vm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/disk"
)

// Copies of disks that a running machine writes to are block jobs of QEMU, which keeps
// what was there when the job began. A job is named after the disk and the file that it
// writes, so that what a process has left that was killed is found again.
const (
	copyPrefix = "copy-"
	// overPrefix is of nodes that QEMU puts over a disk while it is copied: "over-SOURCE-TARGET",
	// shorter, for QEMU allows 31 characters.
	overPrefix = "over-"
	overLength = 12
)

// copyPoll is how often a copy is asked how it stands.
const copyPoll = 200 * time.Millisecond

// copySpeed bounds copies, in bytes a second; 0 does not. Tests set it.
var copySpeed int64

type diskCopy struct {
	job  string // "copy-SOURCE-TARGET"
	node string // of the target
	over string
}

func hashOf(path string) string {
	sum := sha256.Sum256([]byte(path))
	return fmt.Sprintf("%x", sum[:12])
}

func copyOf(path, target string) diskCopy {
	from, to := hashOf(path), hashOf(target)
	return diskCopy{job: copyPrefix + from + "-" + to, node: copyPrefix + to, over: overPrefix + from[:overLength] + "-" + to[:overLength]}
}

// targetOf is the node that a copy job writes to.
func targetOf(job string) string { return copyPrefix + job[strings.LastIndexByte(job, '-')+1:] }

// CopyDisk writes a disk of a running machine, as it is at one moment, into a qcow2 file
// that exists and has the same virtual size: what a power cut at that moment would leave.
// When it fails, or ctx ends, the file is of no use and QEMU has let go of it.
func (m *Machine) CopyDisk(ctx context.Context, path, target string) error {
	c := copyOf(path, target)
	err := m.monitor(ctx, func(s *session) error {
		if err := s.endCopies(ctx, func(job string) bool { return job == c.job }); err != nil {
			return err
		}
		return s.beginCopy(ctx, m.dir, m.blockNode(path), c, target)
	})
	if err == nil {
		err = m.awaitCopy(ctx, c.job)
	}
	if ended := m.EndCopies(context.WithoutCancel(ctx), func(job string) bool { return job == c.job }); err == nil {
		err = ended
	}
	if err != nil {
		return fmt.Errorf("copying a disk of machine %q while it runs: %w", m.cfg.Name, err)
	}
	return nil
}

// blockNode is what QEMU calls a disk.
func (m *Machine) blockNode(path string) string {
	if len(m.cfg.Disks) > 0 && m.cfg.Disks[0].Path == path {
		return "disk0"
	}
	return dataNode(path)
}

func (s *session) beginCopy(ctx context.Context, dir, source string, c diskCopy, target string) error {
	node, err := s.openChain(ctx, dir, Disk{Path: target, Format: disk.QCOW2})
	if err != nil {
		return err
	}
	node["node-name"], node["detect-zeroes"] = c.node, "unmap" // what the guest never wrote takes no space
	if err := s.execute("blockdev-add", node, nil); err != nil {
		return err
	}
	return s.execute("blockdev-backup", map[string]any{"job-id": c.job, "device": source, "target": c.node, "filter-node-name": c.over,
		"sync": "full", "speed": copySpeed, "auto-dismiss": false}, nil)
}

type blockJob struct {
	ID, Status, Error string
}

func (s *session) copies() (found []blockJob, err error) {
	var jobs []blockJob
	if err := s.execute("query-jobs", nil, &jobs); err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if strings.HasPrefix(j.ID, copyPrefix) {
			found = append(found, j)
		}
	}
	return found, nil
}

// awaitCopy waits in short conversations: QEMU has one at a time.
func (m *Machine) awaitCopy(ctx context.Context, job string) error {
	for {
		var now blockJob
		err := m.monitor(ctx, func(s *session) error {
			all, err := s.copies()
			for _, j := range all {
				if j.ID == job {
					now = j
				}
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case now.Error != "":
			return errors.New(now.Error)
		case now.ID == "":
			return errors.New("the copy was ended by somebody else")
		case now.Status == "concluded":
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(copyPoll):
		}
	}
}

// EndCopies ends the copies of a running machine's disks whose job is among those, and has
// QEMU let go of their files. nil means all: what a process has left that was killed.
func (m *Machine) EndCopies(ctx context.Context, among func(job string) bool) error {
	if _, err := find(m.dir); errors.Is(err, errNoProcess) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, busyPatience)
	defer cancel()
	err := m.monitor(ctx, func(s *session) error { return s.endCopies(ctx, among) })
	if _, gone := find(m.dir); errors.Is(gone, errNoProcess) {
		return nil
	}
	return err
}

func (s *session) endCopies(ctx context.Context, among func(job string) bool) error {
	for {
		left, err := s.endOnce(among)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// endOnce cancels what runs, forgets what has ended, and removes nodes that no job uses.
// It reports how many jobs are left.
func (s *session) endOnce(among func(job string) bool) (left int, err error) {
	jobs, err := s.copies()
	if err != nil {
		return 0, err
	}
	used := map[string]bool{}
	for _, j := range jobs {
		if among != nil && !among(j.ID) {
			used[targetOf(j.ID)] = true
			continue
		}
		command := "job-cancel"
		if j.Status == "concluded" {
			command = "job-dismiss"
		} else {
			left++
		}
		var refused *QMPError // it has gone on meanwhile
		if err := s.execute(command, map[string]string{"id": j.ID}, nil); err != nil && !errors.As(err, &refused) {
			return 0, err
		}
	}
	if left > 0 {
		return left, nil
	}
	return 0, s.removeCopyNodes(used)
}

func (s *session) removeCopyNodes(used map[string]bool) error {
	names, err := s.nodes()
	for _, name := range names {
		if err == nil && strings.HasPrefix(name, copyPrefix) && !used[name] {
			err = s.execute("blockdev-del", map[string]string{"node-name": name}, nil)
		}
	}
	return err
}

// cancelCopies tells the copies of a disk to end; who waits for them learns of it.
func (s *session) cancelCopies(prefix string) error {
	jobs, err := s.copies()
	for _, j := range jobs {
		var refused *QMPError // it has ended already
		if err == nil && strings.HasPrefix(j.ID, prefix) {
			if e := s.execute("job-cancel", map[string]string{"id": j.ID}, nil); e != nil && !errors.As(e, &refused) {
				err = e
			}
		}
	}
	return err
}

// underneath is the data disk's node that a node is put over, or the node itself.
func underneath(node string, all []string) string {
	over, ok := strings.CutPrefix(node, overPrefix)
	if !ok || len(over) < overLength {
		return node
	}
	for _, name := range all {
		if strings.HasPrefix(name, dataPrefix+over[:overLength]) {
			return name
		}
	}
	return node
}

// nodes are the names of all block nodes.
func (s *session) nodes() (names []string, err error) {
	var all []struct {
		Name string `json:"node-name"`
	}
	err = s.execute("query-named-block-nodes", map[string]bool{"flat": true}, &all)
	for _, n := range all {
		names = append(names, n.Name)
	}
	return names, err
}
