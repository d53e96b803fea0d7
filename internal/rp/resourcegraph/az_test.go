package resourcegraph_test

import (
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/store/mem"
)

func TestAzureCLIAsks(t *testing.T) {
	s := estate(t, mem.New())
	az := providertest.AzureCLI(t, s)
	ask := func(query string) []string {
		t.Helper()
		return az.Query(t, "data[].name", "rest", "--method", "post", "--url", "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01",
			"--body", `{"subscriptions":["`+providertest.Subscription+`"],"query":"`+query+`","options":{"$top":10}}`)
	}
	if got := strings.Join(ask("Resources | where type =~ 'Microsoft.Compute/virtualMachines' and properties.n >= 1 | order by name asc | project name"), " "); got != "Db1 web2" {
		t.Errorf("az rest: %s", got)
	}
	out, code := az.Try(t, "rest", "--method", "post", "--url", "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", "--body", `{"query":"Resources | mv-expand tags"}`)
	if code == 0 || !strings.Contains(out, "mv-expand") || !strings.Contains(out, "InvalidQueryLanguage") {
		t.Errorf("a query that is not supported: %d, %s", code, out)
	}
}
