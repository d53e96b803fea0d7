package authorization_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armpolicy"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider/providertest"
)

// builtins are the texts of Azure's public definitions and initiatives, by file name.
// They are no part of the project: HALLMARK_SHARED or a folder shared beside the
// project's holds them.
func builtins(t *testing.T) map[string][]byte {
	t.Helper()
	shared := os.Getenv("HALLMARK_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "..", "shared")
	}
	f, err := os.Open(filepath.Join(shared, "data", "azure-policy-builtins.tar.gz"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the public built-in definitions are not here; set HALLMARK_SHARED to the folder that has data/azure-policy-builtins.tar.gz")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(h.Name, ".json") {
			if texts[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Everything that Azure has built in can be imported at the tenant, definitions first.
func TestEveryPublicBuiltInIsAccepted(t *testing.T) {
	texts := builtins(t)
	if testing.Short() {
		t.Skip("importing all of them takes a while; run without -short")
	}
	s := start(t)
	counts := map[string]int{}
	for _, typ := range []string{"policyDefinitions", "policySetDefinitions"} {
		for file, text := range texts {
			name := arm.GetString(text, "name")
			_, isSet := arm.Get(text, "properties.policyDefinitions")
			if isSet != (typ == "policySetDefinitions") || name == "" {
				continue
			}
			id := arm.Tenant.Resource(arm.Type("Microsoft.Authorization/"+typ), name)
			if _, err := s.Client.Put(t.Context(), id, json.RawMessage(text)); err != nil {
				if counts["failed"]++; counts["failed"] <= 10 {
					t.Errorf("%s: %.600v", file, err)
				}
				continue
			}
			counts[typ]++
		}
	}
	t.Logf("imported: %v", counts)
	if counts["policyDefinitions"] < 3000 || counts["policySetDefinitions"] < 100 {
		t.Errorf("imported only %v", counts)
	}
	defs, err := armpolicy.NewDefinitionsClient(providertest.Subscription, s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	listed := 0
	for pager := defs.NewListPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		listed += len(page.Value)
	}
	if listed != counts["policyDefinitions"] {
		t.Errorf("listed %d of %d definitions", listed, counts["policyDefinitions"])
	}
}
