package clients_test

import "testing"

// graph asks about a group, and reads who made and deleted it.
func (s *suite) graph(t *testing.T) {
	s.az.Run(t, "group", "create", "-n", "asked", "-l", "eastus", "--tags", "stage=graph")
	body := s.plane.Write(t, "query.json", `{"query": "ResourceContainers | where tags['stage'] =~ 'GRAPH' | project name, location", "options": {"resultFormat": "objectArray"}}`)
	s.expect(t, "asked", "data[].name", "rest", "--method", "post", "--url", "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", "--body", "@"+body)
	s.az.Run(t, "group", "delete", "-n", "asked", "--yes")
	s.expect(t, "Microsoft.Resources/subscriptions/resourceGroups/delete Microsoft.Resources/subscriptions/resourceGroups/write", "sort([].operationName.value)",
		"monitor", "activity-log", "list", "-g", "asked", "--status", "Succeeded")
	s.expect(t, "Administrative Policy", "[].value", "monitor", "activity-log", "list-categories")
}
