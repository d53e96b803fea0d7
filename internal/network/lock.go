package network

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile lies where it goes with the host's network: both end at a reboot.
const lockFile = "/run/hallmark-network.lock"

// lockHost keeps processes from picking the same prefix at the same time: a
// shell in a failed build runs beside the server. The lock goes with the process.
func lockHost() (release func() error, err error) {
	f, err := os.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the host's network: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking the host's network: %w", err)
	}
	return f.Close, nil
}
