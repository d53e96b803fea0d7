package cli

import (
	"os"
	"path/filepath"
)

// defaultDataDir is where the local control plane keeps everything it has.
func defaultDataDir() string {
	if dir := os.Getenv("HALLMARK_DATA"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/hallmark"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "hallmark-data"
	}
	return filepath.Join(home, ".local", "share", "hallmark")
}
