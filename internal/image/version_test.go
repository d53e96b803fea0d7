package image

import (
	"testing"
)

func versions(t *testing.T, texts ...string) []Version {
	t.Helper()
	var out []Version
	for _, text := range texts {
		v, err := ParseVersion(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

// TestNextVersion: the rows with many versions are Image Builder's
// documentation of its versioning property.
func TestNextVersion(t *testing.T) {
	documented := []string{"0.1.1", "0.1.2", "1.0.0", "1.0.1", "1.1.0", "1.1.1", "1.2.0", "2.0.0", "2.0.1", "2.1.0"}
	for _, c := range []struct {
		name     string
		scheme   *Versioning
		existing []string
		source   string
		want     string
	}{
		{"no major", &Versioning{Scheme: "Latest"}, documented, "", "2.1.1"},
		{"nothing said", nil, documented, "", "2.1.1"},
		{"major 2", &Versioning{Scheme: "Latest", Major: new(2)}, documented, "", "2.1.1"},
		{"major 1", &Versioning{Scheme: "Latest", Major: new(1)}, documented, "", "1.2.1"},
		{"major 0", &Versioning{Scheme: "Latest", Major: new(0)}, documented, "", "0.1.3"},
		{"a new major", &Versioning{Scheme: "Latest", Major: new(3)}, documented, "", "3.0.0"},
		{"the first", nil, nil, "", "0.0.1"},
		{"the first of major 1", &Versioning{Major: new(1)}, nil, "", "1.0.0"},
		{"numbers are not text", nil, []string{"1.0.9", "1.0.10"}, "", "1.0.11"},
		{"source", &Versioning{Scheme: "Source"}, documented, "18.4.201909120", "18.4.201909120"},
		{"source with four parts", &Versioning{Scheme: "Source"}, nil, "12.0.20240101.7", "12.0.20240101"},
		{"source that exists", &Versioning{Scheme: "Source"}, []string{"1.2.3", "1.2.4"}, "1.2.3", "1.2.5"},
	} {
		got, err := NextVersion(c.scheme, versions(t, c.existing...), c.source)
		if err != nil || got.String() != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.name, got, err, c.want)
		}
	}
	if _, err := NextVersion(nil, []Version{{0, 0, maxVersionPart}}, ""); err == nil {
		t.Error("the last patch number was incremented")
	}
	if _, err := NextVersion(&Versioning{Scheme: "Source"}, nil, "buster"); err == nil {
		t.Error("a source version of letters was accepted")
	}
}

func TestParseVersion(t *testing.T) {
	for _, bad := range []string{"", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.+3", "-1.2.3", "1.2.3-rc1", "1.2.2147483648", "1.2. 3"} {
		if v, err := ParseVersion(bad); err == nil {
			t.Errorf("%q was read as %s", bad, v)
		}
	}
}

func TestLatestSkipsExcluded(t *testing.T) {
	got, ok := Latest([]Candidate{{Version{1, 0, 0}, false}, {Version{2, 0, 0}, true}, {Version{1, 1, 0}, false}})
	if !ok || got != (Version{1, 1, 0}) {
		t.Errorf("got %s", got)
	}
	if _, ok := Latest([]Candidate{{Version{1, 0, 0}, true}}); ok {
		t.Error("there is a latest version though all are excluded")
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("1.2.3")
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := ParseVersion(text); err == nil && v.String() != text {
			t.Errorf("%q reads as %s", text, v)
		}
	})
}
