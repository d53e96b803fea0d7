package e2e_test

import (
	"net/http"
	"testing"

	"hallmark.dev/hallmark/test/outside"
)

// The api-versions that the tests speak.
const (
	apiHallmark = "2026-11-01"
	apiCompute  = "2024-07-01"
	apiGallery  = "2023-07-03"
)

// version is what the tests look at of a gallery image version.
type version struct {
	ID, Name   string
	Tags       map[string]string
	Properties struct {
		ProvisioningState string
		PublishingProfile struct {
			ExcludeFromLatest bool
			TargetRegions     []struct{ Name string }
		}
		ReplicationStatus struct {
			AggregatedState string
			Summary         []struct{ Region, State string }
		}
		Hallmark struct{ ImageDigest string }
	}
}

func versions(t *testing.T, e *outside.Endpoint, definition string) []version {
	t.Helper()
	var page struct{ Value []version }
	e.Must(t, http.MethodGet, e.Group("/providers/Microsoft.Compute/galleries/golden/images/"+definition+"/versions"), apiGallery, nil, &page)
	for n := range page.Value {
		e.Must(t, http.MethodGet, page.Value[n].ID+"?$expand=ReplicationStatus", apiGallery, nil, &page.Value[n])
	}
	return page.Value
}
