package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hallmark.dev/hallmark/internal/disk"
)

// Data disks have names in QEMU that say which file is at which LUN, so that what a
// running machine has can be compared with what it should have, whoever plugged it in.
const (
	dataPrefix   = "data-"
	devicePrefix = "lun"
)

// dataNode names a data disk's block node after its file; QEMU allows 31 characters.
func dataNode(path string) string { return dataPrefix + hashOf(path) }

func dataDevice(lun int) string { return devicePrefix + strconv.Itoa(lun) }

// ErrNoHotplug means that a running machine was started without what its data disks are
// plugged into; its next start has it.
var ErrNoHotplug = errors.New("the machine was started by a version that could not change disks while it runs; stop it and start it")

// SyncDisks brings the data disks of a running machine to its configuration: what is
// there and should not be is unplugged, what is missing is plugged in. The guest is not
// asked: what it has not written to an unplugged disk is lost, as when a cable is
// pulled. It may be repeated after a failure or a crash. A machine that does not run is
// fine.
func (m *Machine) SyncDisks(ctx context.Context) error {
	if _, err := find(m.dir); errors.Is(err, errNoProcess) {
		return nil
	}
	err := m.monitor(ctx, func(s *session) error {
		plugged, err := s.dataDisks()
		if err != nil {
			return err
		}
		return errors.Join(m.unplug(ctx, s, plugged), m.plug(ctx, s, plugged))
	})
	if err != nil {
		return fmt.Errorf("changing the disks of machine %q: %w", m.cfg.Name, err)
	}
	return nil
}

// GrowDisk tells a running machine that one of its data disks is larger now, in bytes;
// QEMU enlarges the file itself, which it holds open.
func (m *Machine) GrowDisk(ctx context.Context, path string, size int64) error {
	err := qmp(ctx, m.dir, "block_resize", map[string]any{"node-name": dataNode(path), "size": size}, nil)
	if err != nil {
		return fmt.Errorf("growing a disk of machine %q: %w", m.cfg.Name, err)
	}
	return nil
}

// monitor runs a conversation of several commands with QEMU.
func (m *Machine) monitor(ctx context.Context, talk func(*session) error) error {
	conn, err := dial(ctx, m.dir, QMPSocket)
	if err != nil {
		return err
	}
	s := newSession(ctx, conn)
	defer s.close()
	if err := s.execute("qmp_capabilities", nil, nil); err != nil {
		return causeOf(ctx, err)
	}
	return causeOf(ctx, talk(s))
}

// dataDisks are the data disks that are plugged in: node by device.
func (s *session) dataDisks() (map[string]string, error) {
	var blocks []struct {
		Device   string `json:"qdev"`
		Inserted struct {
			Node string `json:"node-name"`
		} `json:"inserted"`
	}
	if err := s.execute("query-block", nil, &blocks); err != nil {
		return nil, err
	}
	nodes, err := s.nodes()
	plugged := map[string]string{}
	for _, b := range blocks {
		if _, err := strconv.Atoi(strings.TrimPrefix(b.Device, devicePrefix)); err == nil && strings.HasPrefix(b.Device, devicePrefix) {
			plugged[b.Device] = underneath(b.Inserted.Node, nodes)
		}
	}
	return plugged, err
}

// wanted are the configured data disks by device.
func (m *Machine) wanted() map[string]Disk {
	wanted := map[string]Disk{}
	for _, d := range m.cfg.Disks[min(1, len(m.cfg.Disks)):] {
		wanted[dataDevice(d.LUN)] = d
	}
	return wanted
}

// unplug removes devices that should not be there, then nodes that no device uses: those
// just unplugged, and what an attempt that was cut short has left.
func (m *Machine) unplug(ctx context.Context, s *session, plugged map[string]string) error {
	wanted := m.wanted()
	for device, node := range plugged {
		if d, ok := wanted[device]; ok && dataNode(d.Path) == node {
			continue
		}
		if err := s.execute("device_del", map[string]string{"id": device}, nil); err != nil {
			return err
		}
		delete(plugged, device)
	}
	nodes, err := s.nodes()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, node := range plugged {
		used[node] = true
	}
	for _, name := range nodes {
		if !strings.HasPrefix(name, dataPrefix) || used[name] {
			continue
		}
		copies := copyPrefix + strings.TrimPrefix(name, dataPrefix) + "-" // of a disk that goes end with it
		if err := s.cancelCopies(copies); err != nil {
			return err
		}
		if err := s.removeNode(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// busyPatience bounds how long QEMU may take to let go of an unplugged disk.
const busyPatience = 10 * time.Second

// removeNode tries again while the device that is going still holds the node.
func (s *session) removeNode(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, busyPatience)
	defer cancel()
	for {
		err := s.execute("blockdev-del", map[string]string{"node-name": node}, nil)
		var refused *QMPError
		if err == nil || !errors.As(err, &refused) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(poll):
		}
	}
}

func (m *Machine) plug(ctx context.Context, s *session, plugged map[string]string) error {
	for _, d := range m.cfg.Disks[min(1, len(m.cfg.Disks)):] {
		device := dataDevice(d.LUN)
		if plugged[device] == dataNode(d.Path) {
			continue
		}
		if err := s.addNode(ctx, m.dir, d); err != nil {
			return err
		}
		err := s.execute("device_add", map[string]any{"driver": "scsi-hd", "bus": "data.0", "channel": 0, "scsi-id": 0, "lun": d.LUN,
			"drive": dataNode(d.Path), "id": device, "serial": device}, nil)
		var refused *QMPError
		if errors.As(err, &refused) && strings.Contains(refused.Desc, "'data.0' not found") {
			return ErrNoHotplug
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addNode opens the disk's file, and those that it stands on, and hands them over: QEMU
// has dropped the rights with which it could open them.
func (s *session) addNode(ctx context.Context, dir string, d Disk) error {
	node, err := s.openChain(ctx, dir, d)
	if err != nil {
		return err
	}
	node["node-name"] = dataNode(d.Path)
	return s.execute("blockdev-add", node, nil)
}

func (s *session) openChain(ctx context.Context, dir string, d Disk) (map[string]any, error) {
	path := d.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	info, err := disk.Inspect(ctx, path, d.Format)
	if err != nil {
		return nil, err
	}
	file, err := s.handOver(path, d.ReadOnly)
	if err != nil {
		return nil, err
	}
	options := blockOptions(Disk{Path: file, Format: d.Format, ReadOnly: d.ReadOnly})
	if info.Backing == "" {
		return options, nil
	}
	backing := info.Backing
	if !filepath.IsAbs(backing) {
		backing = filepath.Join(filepath.Dir(path), backing)
	}
	options["backing"], err = s.openChain(ctx, dir, Disk{Path: backing, Format: info.BackingFormat, ReadOnly: true})
	return options, err
}

// handOver passes an open file to QEMU and returns the name under which it opens it.
// QEMU closes it by itself once no disk uses it.
func (s *session) handOver(path string, readOnly bool) (string, error) {
	mode := os.O_RDWR
	if readOnly {
		mode = os.O_RDONLY
	}
	f, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var set struct {
		ID int `json:"fdset-id"`
	}
	if err := s.executeWith("add-fd", unix.UnixRights(int(f.Fd())), &set); err != nil {
		return "", err
	}
	return "/dev/fdset/" + strconv.Itoa(set.ID), nil
}

// executeWith sends a command together with ancillary data (unix(7)).
func (s *session) executeWith(command string, rights []byte, result any) error {
	conn, ok := s.conn.(*net.UnixConn)
	if !ok {
		return errors.New("files can be handed over on a local socket only")
	}
	text, err := json.Marshal(map[string]string{"execute": command})
	if err != nil {
		return err
	}
	if _, _, err := conn.WriteMsgUnix(append(text, '\n'), rights, nil); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return s.answer(command, result)
}
