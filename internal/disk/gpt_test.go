package disk

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fixture is a 1 MiB disk that sgdisk partitioned.
func fixture(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/gpt.img.gz.b64")
	if err != nil {
		t.Fatal(err)
	}
	zipped, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	image, err := io.ReadAll(zipped)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// sfdiskSays is what sfdisk --json printed for the fixture.
func sfdiskSays(t *testing.T) []Partition {
	t.Helper()
	text, err := os.ReadFile("testdata/gpt.sfdisk.json")
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Table struct {
			Partitions []struct {
				Node, Type, UUID, Name string
				Start, Size            int64
			}
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		t.Fatal(err)
	}
	var parts []Partition
	for _, p := range said.Table.Partitions {
		parts = append(parts, Partition{Number: int(p.Node[len(p.Node)-1] - '0'), Type: strings.ToLower(p.Type),
			UUID: strings.ToLower(p.UUID), Name: p.Name, Start: p.Start * 512, Size: p.Size * 512})
	}
	return parts
}

func TestReadGPTAgreesWithSfdisk(t *testing.T) {
	image, want := fixture(t), sfdiskSays(t)
	damaged := func(at int) []byte {
		copied := bytes.Clone(image)
		copied[at] ^= 0xff
		return copied
	}
	for name, disk := range map[string][]byte{
		"whole":                     image,
		"primary header damaged":    damaged(512 + 80),
		"primary entries damaged":   damaged(1024 + 3),
		"backup header damaged":     damaged(len(image) - 512 + 80),
		"protective MBR is missing": append(make([]byte, 512), image[512:]...),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ReadGPT(bytes.NewReader(disk), int64(len(disk)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-sfdisk +ours:\n%s", diff)
			}
		})
	}
}

func TestReadGPTRefusesBothCopiesDamaged(t *testing.T) {
	image := fixture(t)
	image[512+80] ^= 1
	image[len(image)-512+80] ^= 1
	if _, err := ReadGPT(bytes.NewReader(image), int64(len(image))); !errors.Is(err, ErrNoGPT) {
		t.Errorf("got %v, want ErrNoGPT", err)
	}
}

func TestRootPartitionPrefersTheTypeThenTheLargest(t *testing.T) {
	ext4 := func(disk []byte, start int64) {
		copy(disk[start+1024+56:], "\x53\xef")
		disk[start+1024+96] = 0x40
	}
	disk := make([]byte, 64<<10)
	ext4(disk, 4096)
	ext4(disk, 20480)
	copy(disk[40960:], "XFSB")
	small := Partition{Number: 1, Start: 4096, Size: 8192}
	large := Partition{Number: 2, Start: 20480, Size: 16384}
	xfs := Partition{Number: 3, Start: 40960, Size: 20480, Type: LinuxRootX8664}
	typed := small
	typed.Type = LinuxRootX8664
	for name, tc := range map[string]struct {
		parts []Partition
		want  Partition
	}{
		"the largest ext4":       {[]Partition{small, large, xfs}, large},
		"the typed one, smaller": {[]Partition{large, typed}, typed},
	} {
		if got, err := RootPartition(bytes.NewReader(disk), tc.parts); err != nil || got != tc.want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	_, err := RootPartition(bytes.NewReader(disk), []Partition{xfs})
	if !errors.Is(err, ErrUnsupportedRoot) || !strings.Contains(err.Error(), "xfs") {
		t.Errorf("an xfs root: got %v, want ErrUnsupportedRoot that names xfs", err)
	}
}

func FuzzReadGPT(f *testing.F) {
	image := fixture(f)
	f.Add(image[:34*512], image[len(image)-33*512:])
	f.Add([]byte("short"), []byte{})
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		disk := make([]byte, 1<<20)
		copy(disk, head)
		copy(disk[max(0, len(disk)-len(tail)):], tail)
		parts, err := ReadGPT(bytes.NewReader(disk), int64(len(disk)))
		if err != nil {
			return
		}
		for _, p := range parts {
			if p.Start < 0 || p.Size <= 0 || p.Start+p.Size > int64(len(disk)) {
				t.Errorf("partition outside the disk: %+v", p)
			}
		}
		RootPartition(bytes.NewReader(disk), parts)
	})
}
