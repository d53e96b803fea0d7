package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
)

// MaxConsole is how much of the serial console's log is kept in each of its two
// files, in bytes, once Rotate has run.
const MaxConsole = 4 << 20

// Rotate bounds the console's log: when it is longer than MaxConsole, its end
// becomes the old one and it starts anew. QEMU keeps writing to the same file,
// which it appends to; what it writes during the copy may be lost. Call it now
// and then: nobody else bounds the log.
func (m *Machine) Rotate() error {
	file := filepath.Join(m.dir, ConsoleFile)
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() <= MaxConsole {
		return nil
	}
	if err != nil {
		return err
	}
	end, err := readEnd(file, MaxConsole)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(m.dir, OldConsoleFile), end); err != nil {
		return fmt.Errorf("rotating the console's log: %w", err)
	}
	return os.Truncate(file, 0)
}

// ReadConsole returns the end of the serial console's log, at most limit bytes.
func (m *Machine) ReadConsole(limit int64) ([]byte, error) {
	now, err := readEnd(filepath.Join(m.dir, ConsoleFile), limit)
	if err != nil || int64(len(now)) == limit {
		return now, err
	}
	before, err := readEnd(filepath.Join(m.dir, OldConsoleFile), limit-int64(len(now)))
	return append(before, now...), err
}

// DialConsole connects to the serial console. One client at a time: a second
// waits until the first hangs up.
func (m *Machine) DialConsole(ctx context.Context) (net.Conn, error) {
	return dial(ctx, m.dir, ConsoleSocket)
}

// readEnd returns a file's last bytes; a file that is not there is empty.
func readEnd(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := info.Size()
	return io.ReadAll(io.NewSectionReader(f, max(0, size-limit), min(limit, size)))
}
