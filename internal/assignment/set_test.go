package assignment

import (
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

// What hangs on a management group is covered once by what is assigned there, not twice.
func TestAtAManagementGroup(t *testing.T) {
	const root, group = "/providers/Microsoft.Management/managementGroups/root", "/providers/Microsoft.Management/managementGroups/g1"
	db := mem.New()
	err := db.Update(t.Context(), func(tx store.Tx) error {
		for _, d := range []*store.Document{
			document(root, `{"properties":{}}`),
			document(group, `{"properties":{"details":{"parent":{"id":"`+root+`"}}}}`),
			document(root+"/providers/Microsoft.Authorization/policyAssignments/above", `{"properties":{"policyDefinitionId":"`+policyID("policyDefinitions", "d")+`"}}`),
			document(group+"/providers/Microsoft.Authorization/policyAssignments/here", `{"properties":{"policyDefinitionId":"`+policyID("policyDefinitions", "d")+`"}}`),
		} {
			if err := tx.Put(d, store.Absent); err != nil {
				return err
			}
		}
		return Touch(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	set, err := New(db, nil).Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{group, group + "/providers/Microsoft.Authorization/policyExemptions/e", group + "/providers/X.Y/things/t/parts/p"} {
		id, err := arm.ParseID(at)
		if err != nil {
			t.Fatal(err)
		}
		if got := set.At(id); len(got) != 2 || got[0].ID.Name() != "above" || got[1].ID.Name() != "here" {
			t.Errorf("%s is covered by %d assignments", at, len(got))
		}
	}
}
