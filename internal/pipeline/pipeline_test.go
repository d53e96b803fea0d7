package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/lineage"
)

// drive takes a run to its end, as a controller would: an error means the same
// step again.
func drive(t *testing.T, d *Driver, run *Run) {
	t.Helper()
	for range 500 {
		again, err := d.Step(context.Background(), run)
		if err == nil && again == 0 {
			return
		}
	}
	t.Fatalf("the run did not end: %+v", run)
}

func stateOf(c *cloud, id string) string {
	tags, _ := c.resources[strings.ToLower(id)]["tags"].(map[string]any)
	state, _ := tags[lineage.TagState].(string)
	return state
}

const definitionID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/golden/images/web-base"

func TestARunPublishesItsVersion(t *testing.T) {
	c := newCloud(t)
	run := NewRun("01HALLMARKTEST0001", Order{})
	drive(t, newDriver(t, c), run)
	if run.Status != Succeeded {
		t.Fatalf("status %s: %+v", run.Status, run.Error)
	}
	if run.Version != "1.0.0" || run.Source.Version != "12.20261121.1530" || run.ImageDigest != imageDigest {
		t.Errorf("version %s from %s, digest %s", run.Version, run.Source.Version, run.ImageDigest)
	}
	version := c.resources[strings.ToLower(definitionID+"/versions/1.0.0")]
	profile := version["properties"].(map[string]any)["publishingProfile"].(map[string]any)
	want := map[string]any{
		"excludeFromLatest": false,
		"targetRegions": []any{
			map[string]any{"name": "eastus", "regionalReplicaCount": 1.0},
			map[string]any{"name": "westeurope", "regionalReplicaCount": 1.0},
		},
	}
	if diff := cmp.Diff(want, profile); diff != "" {
		t.Error(diff)
	}
	if stateOf(c, definitionID+"/versions/1.0.0") != lineage.MarkPublished || run.Statement == nil {
		t.Error("the version is not marked as published, or nothing was signed")
	}
	for id := range c.resources {
		if strings.Contains(id, "imagetemplates") || strings.Contains(id, "virtualmachines") || strings.Contains(id, "networkinterfaces") {
			t.Errorf("left behind: %s", id)
		}
	}
}

func TestAnUnchangedRecipeIsAnsweredWithTheVersionThatIsThere(t *testing.T) {
	c := newCloud(t)
	d := newDriver(t, c)
	drive(t, d, NewRun("01HALLMARKTEST0001", Order{}))
	c.writes = nil
	again := NewRun("01HALLMARKTEST0002", Order{})
	drive(t, d, again)
	if again.Status != UpToDate || again.Version != "1.0.0" {
		t.Errorf("status %s, version %s", again.Status, again.Version)
	}
	if len(c.writes) > 0 {
		t.Errorf("an unchanged build wrote: %v", c.writes)
	}
	forced := NewRun("01HALLMARKTEST0003", Order{Force: true})
	drive(t, d, forced)
	if forced.Status != Succeeded || forced.Version != "1.0.1" {
		t.Errorf("forced: status %s, version %s", forced.Status, forced.Version)
	}
}

func TestOnlyTheNewestVersionsStayCurrent(t *testing.T) {
	c := newCloud(t)
	d := newDriver(t, c)
	for i := range 4 {
		drive(t, d, NewRun(fmt.Sprintf("01HALLMARKTEST000%d", i), Order{Force: true}))
	}
	got := map[string]string{}
	for _, v := range []string{"1.0.0", "1.0.1", "1.0.2", "1.0.3"} {
		got[v] = stateOf(c, definitionID+"/versions/"+v)
	}
	want := map[string]string{"1.0.0": lineage.MarkAged, "1.0.1": lineage.MarkAged, "1.0.2": lineage.MarkPublished, "1.0.3": lineage.MarkPublished}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAFailedTestKeepsTheVersionOutOfLatest(t *testing.T) {
	c := newCloud(t)
	c.failTests = map[string]bool{"0": true}
	run := NewRun("01HALLMARKTEST0001", Order{})
	drive(t, newDriver(t, c), run)
	if run.Status != NeedsRepair || run.Next == "" {
		t.Errorf("status %s, next %q", run.Status, run.Next)
	}
	if !strings.Contains(run.Error.Message, "says hello") {
		t.Errorf("the error does not name the test: %s", run.Error.Message)
	}
	if got := stateOf(c, definitionID+"/versions/1.0.0"); got != lineage.MarkStaged {
		t.Errorf("the version is marked %q, want %q", got, lineage.MarkStaged)
	}
	profile := c.resources[strings.ToLower(definitionID+"/versions/1.0.0")]["properties"].(map[string]any)["publishingProfile"].(map[string]any)
	if profile["excludeFromLatest"] != true {
		t.Error("latest sees a version whose tests failed")
	}
}

func TestABuildThatFailsSaysWhatTheBuilderSaid(t *testing.T) {
	c := newCloud(t)
	c.buildFail = "customizer hello ended with exit code 7"
	run := NewRun("01HALLMARKTEST0001", Order{})
	drive(t, newDriver(t, c), run)
	if run.Status != Failed || !strings.Contains(run.Error.Message, "exit code 7") || !strings.Contains(run.Next, "image shell "+run.ID) || run.BuildRunID != "01builderrun" {
		t.Errorf("got %s %+v next %q", run.Status, run.Error, run.Next)
	}
}

// TestEveryRequestMayFail breaks each request of a run once, both ways: not
// applied, and applied but not heard of. The run must end the same each time.
func TestEveryRequestMayFail(t *testing.T) {
	total := 0
	reference := newCloud(t)
	reference.fault = func(azure.Request) (error, error) { total++; return nil, nil }
	drive(t, newDriver(t, reference), NewRun("01HALLMARKTEST0001", Order{}))
	if total < 20 {
		t.Fatalf("only %d requests: the test would prove little", total)
	}
	for n := 1; n <= total; n++ {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("request %d applied %v", n, applied), func(t *testing.T) {
				c := newCloud(t)
				count := 0
				c.fault = func(r azure.Request) (before, after error) {
					if count++; count != n {
						return nil, nil
					}
					err := armError(http.StatusServiceUnavailable, "ServerUnavailable")
					if applied {
						return nil, err
					}
					return err, nil
				}
				run := NewRun("01HALLMARKTEST0001", Order{})
				drive(t, newDriver(t, c), run)
				if run.Status != Succeeded || stateOf(c, definitionID+"/versions/1.0.0") != lineage.MarkPublished {
					t.Errorf("status %s: %+v", run.Status, run.Error)
				}
			})
		}
	}
}

func TestAnEndpointThatStaysAwayEndsTheRun(t *testing.T) {
	c := newCloud(t)
	c.fault = func(azure.Request) (error, error) { return errors.New("connection refused"), nil }
	run := NewRun("01HALLMARKTEST0001", Order{})
	for range 3 * maxAttempts {
		_, _ = newDriver(t, c).Step(context.Background(), run)
	}
	if run.Outcome != Failed || run.Error.Code != "EndpointUnreachable" {
		t.Errorf("outcome %s, %+v", run.Outcome, run.Error)
	}
}

func TestACanceledRunCleansUp(t *testing.T) {
	c := newCloud(t)
	d := newDriver(t, c)
	run := NewRun("01HALLMARKTEST0001", Order{})
	for run.Stage(StageValidate).Status != Running {
		if _, err := d.Step(context.Background(), run); err != nil {
			t.Fatal(err)
		}
	}
	run.Cancel = true
	drive(t, d, run)
	if run.Status != Canceled {
		t.Errorf("status %s", run.Status)
	}
	for id := range c.resources {
		if strings.Contains(id, "imagetemplates") || strings.Contains(id, "virtualmachines") {
			t.Errorf("left behind: %s", id)
		}
	}
}

func TestASlowBootIsWaitedForAndADeadOneIsSaid(t *testing.T) {
	for name, booted := range map[string]bool{"boots late": true, "never boots": false} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			d := newDriver(t, c)
			now := d.Now()
			d.Now = func() time.Time { now = now.Add(10 * time.Second); return now }
			asked := 0
			c.fault = func(r azure.Request) (before, after error) {
				if strings.HasSuffix(r.Path, "/runCommand") {
					if asked++; !booted || asked < 20 {
						return armError(http.StatusConflict, codeAgentSilent), nil
					}
				}
				return nil, nil
			}
			run := NewRun("01HALLMARKTEST0001", Order{})
			drive(t, d, run)
			if booted && run.Status != Succeeded {
				t.Errorf("status %s: %+v", run.Status, run.Error)
			}
			if !booted && (run.Status != NeedsRepair || run.Error.Code != "BootFailed") {
				t.Errorf("status %s: %+v", run.Status, run.Error)
			}
		})
	}
}

func TestRemainsThatCannotBeRemovedDoNotChangeTheOutcome(t *testing.T) {
	c := newCloud(t)
	c.fault = func(r azure.Request) (before, after error) {
		if r.Method == http.MethodDelete && strings.Contains(r.Path, "networkInterfaces") {
			return armError(http.StatusBadRequest, "NicInUse"), nil
		}
		return nil, nil
	}
	run := NewRun("01HALLMARKTEST0001", Order{})
	drive(t, newDriver(t, c), run)
	if run.Status != Succeeded || run.Stage(StageValidate).Status != Succeeded || run.Stage(StageClean).Status != Failed {
		t.Errorf("status %s, stages %+v", run.Status, run.Stages)
	}
}

func TestThePlaceIsOneOfTheRegions(t *testing.T) {
	for _, test := range []struct {
		regions []string
		want    string
	}{
		{nil, "eastus"}, {[]string{"westeurope", "East US"}, "eastus"}, {[]string{"westeurope", "northeurope"}, "westeurope"},
	} {
		if got := (Place{Location: "eastus"}).Within(test.regions).Location; got != test.want {
			t.Errorf("%q: %s, want %s", test.regions, got, test.want)
		}
	}
}

func TestRetriesSpanMinutes(t *testing.T) {
	run := NewRun("r", Order{})
	total := time.Duration(0)
	for attempt := range maxAttempts {
		run.Stages[0].Attempts = attempt
		total += RetryAfter(run)
	}
	if total < 2*time.Minute || total > 10*time.Minute {
		t.Errorf("an endpoint that is away is given up after %s", total)
	}
}
