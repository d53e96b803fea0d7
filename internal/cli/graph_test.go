package cli

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/resourcegraph"
)

// TestGraphQuery asks a server in memory, through the command line.
func TestGraphQuery(t *testing.T) {
	s := providertest.Start(t, providertest.With(resourcegraph.New(resourcegraph.Config{TenantID: "t"}), provider.Provider{Types: []provider.ResourceType{
		{Type: "Test.Things/things", Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-01-01"}, Location: provider.LocationRequired, Tags: true}}}))
	for _, name := range []string{"b", "a"} {
		s.Do(t, "PUT", providertest.Query(providertest.Group().String()+"/providers/Test.Things/things/"+name, "2024-01-01"), `{"location":"local","tags":{"team":"x"}}`)
	}
	dir := t.TempDir()
	files := map[string]string{
		"ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate.Raw})), "secret": s.Secret,
		"query":         "Resources | where name == 'a' | project name",
		"contexts.yaml": "current: test\ncontexts:\n- {name: test, endpoint: '" + s.URL + "', authority: '" + s.URL + "', tenant: adfs, clientId: " + s.AppID + ", secretFile: " + filepath.Join(dir, "secret") + ", caFile: " + filepath.Join(dir, "ca.crt") + ", subscription: " + providertest.Subscription + "}\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HALLMARK_CONFIG", filepath.Join(dir, "contexts.yaml"))
	const all = "Resources | project name, location, tags | order by name asc"
	for _, c := range []struct {
		arguments    []string
		code         int
		want, wanted string // on stdout, and in stderr
	}{
		{[]string{all}, 0, "name  location  tags          \n----  --------  ------------  \na     local     {\"team\":\"x\"}  \nb     local     {\"team\":\"x\"}  \n", ""},
		{[]string{all, "-o", "tsv", "--skip", "1"}, 0, "b\tlocal\t{\"team\":\"x\"}\n", ""},
		{[]string{all, "-o", "tsv", "--first", "1"}, 0, "a\tlocal\t{\"team\":\"x\"}\n", "1 of 2 rows"},
		{[]string{all, "-o", "json", "--query", "[].name | join(',', @)"}, 0, "\"a,b\"\n", ""},
		{[]string{"@" + filepath.Join(dir, "query"), "-o", "tsv", "--subscriptions", providertest.Subscription}, 0, "a\n", ""},
		{[]string{"Resources | mv-expand x"}, 1, "", "line 1, column 13: the operator 'mv-expand' is not supported"},
		{[]string{"Resources", "--subscriptions", "nowhere"}, 1, "", "you may read none of them"},
		{[]string{}, 2, "", "accepts 1 arg"},
	} {
		var out, errs bytes.Buffer
		app := NewApp("test")
		app.Out, app.Err = &out, &errs
		code := app.Run(t.Context(), app.Command(), append([]string{"graph", "query"}, c.arguments...))
		if code != c.code || out.String() != c.want && strings.Join(strings.Fields(out.String()), " ") != strings.Join(strings.Fields(c.want), " ") || !strings.Contains(errs.String(), c.wanted) {
			t.Errorf("%q: exit code %d\n%q\nwant\n%q\nstderr: %s", c.arguments, code, out.String(), c.want, errs.String())
		}
	}
}
