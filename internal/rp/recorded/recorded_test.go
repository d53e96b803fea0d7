package recorded_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/policy/alias"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/network"
	"hallmark.dev/hallmark/internal/rp/recorded"
)

func start(t *testing.T, types ...recorded.Type) *providertest.Server {
	t.Helper()
	real := network.New(network.Config{Prefix: netip.MustParsePrefix("10.9.0.0/24")})
	p, err := recorded.New(recorded.Config{Real: []provider.Provider{real}, Types: types})
	if err != nil {
		t.Fatal(err)
	}
	return providertest.Start(t, providertest.With(real, p), providertest.WithAliases(recorded.Aliases(alias.Default())))
}

func TestScenarios(t *testing.T) {
	providertest.Scenarios(t, "testdata/*.txtar", func(t *testing.T) *providertest.Server {
		return start(t, recorded.Type{Type: "Contoso.Shop/carts"}, recorded.Type{Type: "Contoso.Shop/carts/items"})
	})
}

func TestWhatCannotBeRecorded(t *testing.T) {
	for _, bad := range []recorded.Type{{Type: "Contoso"}, {Type: "Microsoft.Compute/cloudServices"}, {Type: "hallmark.images/pipelines"},
		{Type: "A.B/c/d", Scopes: provider.AtSubscription}} {
		if _, err := recorded.New(recorded.Config{Types: []recorded.Type{bad}}); err == nil {
			t.Errorf("%s was taken", bad.Type)
		}
	}
}

func TestTheListingHasEveryAliasOnce(t *testing.T) {
	s := start(t)
	_, _, body := s.Do(t, "GET", "/subscriptions/"+providertest.Subscription+"/providers?api-version=2021-04-01&$expand=resourceTypes/aliases", nil)
	imported, err := alias.Import(string(body))
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, a := range imported {
		served[strings.ToLower(a.Type)] = true
	}
	want := map[string]string{}
	alias.Default().Each(func(a alias.Alias) {
		if served[strings.ToLower(a.Type)] {
			want[strings.ToLower(a.Type+" "+a.Name)] = a.Path
		}
	})
	got := map[string]string{}
	for _, a := range imported {
		got[strings.ToLower(a.Type+" "+a.Name)] = a.Path
	}
	if len(got) < 60_000 {
		t.Errorf("%d aliases", len(got))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%.2000s", diff)
	}
}

func TestOneProvidersAliases(t *testing.T) {
	s := start(t)
	_, _, body := s.Do(t, "GET", "/subscriptions/"+providertest.Subscription+"/providers/microsoft.keyvault?api-version=2021-04-01&$expand=resourceTypes/aliases", nil)
	var view struct {
		Namespace     string
		ResourceTypes []struct {
			ResourceType string
			Properties   map[string]string
			Aliases      []struct {
				Name, DefaultPath string
				Paths             []provider.AliasPath
			}
		}
	}
	if err := json.Unmarshal(body, &view); err != nil {
		t.Fatal(err)
	}
	for _, typ := range view.ResourceTypes {
		if typ.ResourceType != "vaults" {
			continue
		}
		for _, a := range typ.Aliases {
			if a.Name == "Microsoft.KeyVault/vaults/enablePurgeProtection" && a.DefaultPath == "properties.enablePurgeProtection" && len(a.Paths) == 1 && typ.Properties["recordedOnly"] == "true" {
				return
			}
		}
	}
	t.Errorf("the vault's purge protection is not among the aliases: %.1000s", body)
}
