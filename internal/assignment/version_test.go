package assignment

import "testing"

// The patterns are those of Azure's documentation: 1.*.* takes every minor version,
// 1.1.* every patch, and patches are always taken.
func TestPickVersion(t *testing.T) {
	all := []Version{{Name: "1.0.0"}, {Name: "1.2.1"}, {Name: "1.10.0"}, {Name: "2.0.0"}, {Name: "2.1.0-preview"}}
	tests := []struct{ pattern, want string }{
		{"", "2.1.0-preview"}, {"1.*.*", "1.10.0"}, {"1.2.*", "1.2.1"}, {"1.2.0", "1.2.1"}, {"2.*.*", "2.0.0"},
		{"2.*.*-preview", "2.1.0-preview"}, {"3.*.*", ""}, {"1.1.*", ""},
	}
	for _, tt := range tests {
		got, ok := PickVersion(all, tt.pattern)
		if got.Name != tt.want || ok != (tt.want != "") {
			t.Errorf("%q: %q, %v; want %q", tt.pattern, got.Name, ok, tt.want)
		}
	}
}

func TestSelectors(t *testing.T) {
	west := []Selectors{{Selectors: []Selector{{Kind: "resourceLocation", In: []string{"West US"}}, {Kind: "resourceType", NotIn: []string{"A.B/c"}}}}}
	tests := []struct {
		name string
		all  []Selectors
		t    target
		want bool
	}{
		{"none", nil, target{}, true},
		{"both hold", west, target{location: "westus", typ: "A.B/d"}, true},
		{"one does not", west, target{location: "westus", typ: "a.b/C"}, false},
		{"elsewhere", west, target{location: "eastus", typ: "A.B/d"}, false},
		{"without location", []Selectors{{Selectors: []Selector{{Kind: "resourceWithoutLocation", In: []string{"A.B/d"}}}}}, target{typ: "a.b/d"}, true},
		{"unknown kind", []Selectors{{Selectors: []Selector{{Kind: "colour", In: []string{"*"}}}}}, target{}, false},
	}
	for _, tt := range tests {
		if got := selects(tt.all, tt.t); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
