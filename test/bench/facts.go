package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"hallmark.dev/hallmark/internal/vm"
)

// machineFacts is what the numbers were measured on.
func machineFacts(cache string) string {
	accelerator := "unknown"
	if c, err := vm.Choose(context.Background(), os.Getenv(vm.AccelEnv), filepath.Join(cache, "accelerator.json")); err == nil {
		accelerator = string(c.Accel)
	}
	return fmt.Sprintf("machine: %s, %d cores, %d MiB of memory, accelerator %s, kernel %s, load average %s",
		field("/proc/cpuinfo", "model name"), runtime.NumCPU(), kibibytes("/proc/meminfo", "MemTotal")>>10,
		accelerator, firstWord("/proc/sys/kernel/osrelease"), loadAverage())
}

func loadAverage() string {
	raw, _ := os.ReadFile("/proc/loadavg")
	words := strings.Fields(string(raw))
	return strings.Join(words[:min(3, len(words))], " ")
}

// field reads "name: value" from a file of /proc; empty where it is not there.
func field(file, name string) string {
	raw, _ := os.ReadFile(file)
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// kibibytes reads a field such as "VmRSS: 1234 kB".
func kibibytes(file, name string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(field(file, name), " kB"), 10, 64)
	return n
}

func firstWord(file string) string {
	raw, _ := os.ReadFile(file)
	return strings.TrimSpace(string(raw))
}

// residentMiB is what a process has in memory now.
func residentMiB(pid int) float64 {
	return float64(kibibytes(fmt.Sprintf("/proc/%d/status", pid), "VmRSS")) / 1024
}

// peakMiB is the most that a process has had in memory.
func peakMiB(pid int) float64 {
	return float64(kibibytes(fmt.Sprintf("/proc/%d/status", pid), "VmHWM")) / 1024
}
