package images

import (
	"context"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

// junitOfRun is GET …/runs/R/junit: the test results for a CI system.
func junitOfRun(_ context.Context, w *provider.Write) (any, error) {
	run, err := readRun(w.Doc.Body)
	if err != nil {
		return nil, err
	}
	if run.Tests == nil {
		return nil, arm.Conflict("NotTested", "", "Run '%s' has not tested a machine; its status is %s.", run.ID, run.Status)
	}
	xml, err := run.Tests.JUnit(w.ID.Parent().Name() + " " + run.Version)
	return map[string]string{"junit": string(xml)}, err
}
