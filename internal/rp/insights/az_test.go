package insights_test

import (
	"slices"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/provider/providertest"
)

func TestAzureCLIReadsTheLog(t *testing.T) {
	s := start(t)
	az := providertest.AzureCLI(t, s)
	az.Run(t, "group", "create", "-n", "web", "-l", "local")
	if out, code := az.Try(t, "group", "create", "-n", "web", "-l", "nowhere"); code == 0 {
		t.Fatalf("a group nowhere: %s", out)
	}
	az.Run(t, "group", "delete", "-n", "web", "--yes")
	got := az.Query(t, "[].[status.value, operationName.value][]", "monitor", "activity-log", "list", "-g", "web", "--max-events", "10")
	text := strings.Join(got, " ")
	for _, want := range []string{"Succeeded Microsoft.Resources/subscriptions/resourceGroups/write", "Failed Microsoft.Resources/subscriptions/resourceGroups/write", "Microsoft.Resources/subscriptions/resourceGroups/delete"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in what az shows: %q", want, text)
		}
	}
	caller := az.Query(t, "[0].caller", "monitor", "activity-log", "list", "-g", "web", "--status", "Failed")
	if len(caller) != 1 || slices.Contains(caller, "") {
		t.Errorf("who it was: %q", caller)
	}
	if got := az.Query(t, "[].value", "monitor", "activity-log", "list-categories"); !slices.Contains(got, "Administrative") {
		t.Errorf("categories: %q", got)
	}
}
