package compute

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/store"
)

// status is ARM's InstanceViewStatus.
type status struct {
	Code          string     `json:"code"`
	Level         string     `json:"level"`
	DisplayStatus string     `json:"displayStatus"`
	Message       string     `json:"message,omitempty"`
	Time          *time.Time `json:"time,omitempty"`
}

type instanceView struct {
	ComputerName     string              `json:"computerName,omitempty"`
	OSName           string              `json:"osName,omitempty"`
	OSVersion        string              `json:"osVersion,omitempty"`
	HyperVGeneration string              `json:"hyperVGeneration,omitempty"`
	VMAgent          *vmAgent            `json:"vmAgent,omitempty"`
	Disks            []diskView          `json:"disks"`
	BootDiagnostics  map[string]any      `json:"bootDiagnostics"`
	Extensions       []extensionInstance `json:"extensions,omitempty"`
	Statuses         []status            `json:"statuses"`
	Hallmark         *hallmarkDetails    `json:"hallmark,omitempty"`
}

type vmAgent struct {
	Version  string   `json:"vmAgentVersion"`
	Statuses []status `json:"statuses"`
}

type diskView struct {
	Name     string   `json:"name"`
	Statuses []status `json:"statuses"`
}

// hallmarkDetails are what Azure's shape has no place for.
type hallmarkDetails struct {
	Accelerator string `json:"accelerator"`
	VCPUs       int    `json:"vCPUs"`
	MemoryMiB   int    `json:"memoryMiB"`
}

func (s *service) viewVM(ctx context.Context, v *provider.View) (json.RawMessage, error) {
	body := v.Doc.Body
	var children []*store.Document
	var err error
	if !v.List { // one more look into the store for each item would make lists slow
		if children, err = extensionsOf(ctx, v.Runtime.Store, v.Doc); err != nil {
			return nil, err
		}
	}
	if len(children) > 0 {
		if body, err = arm.Set(body, "resources", bodies(children)); err != nil {
			return nil, err
		}
	}
	if slices.Contains(v.Expand, "userdata") {
		if _, p := readVM(v.Doc); p.UserData != "" {
			if body, err = arm.Set(body, pathUserData, p.UserData); err != nil {
				return nil, err
			}
		}
	}
	if !slices.Contains(v.Expand, "instanceview") {
		return body, nil
	}
	return arm.Set(body, "properties.instanceView", s.instanceView(ctx, v.Doc, children, !v.List))
}

// extensionsOf are the machine's extensions.
func extensionsOf(ctx context.Context, st store.Store, vm *store.Document) ([]*store.Document, error) {
	return store.List(ctx, st, store.Query{Type: TypeExtension, Prefix: vm.Key + "/extensions/"})
}

func bodies(docs []*store.Document) []json.RawMessage {
	var all []json.RawMessage
	for _, d := range docs {
		all = append(all, d.Body)
	}
	return all
}

// instanceViewOf is GET …/instanceView: a route, because it shows what other documents say.
func (s *service) instanceViewOf(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	d, err := vmOf(ctx, c)
	if err != nil {
		return nil, err
	}
	children, err := extensionsOf(ctx, c.Runtime.Store, d)
	if err != nil {
		return nil, err
	}
	return provider.JSON(http.StatusOK, s.instanceView(ctx, d, children, true))
}

// instanceView looks at the machine itself; with ask it also asks the guest's agent, for
// half a second at most.
func (s *service) instanceView(ctx context.Context, d *store.Document, children []*store.Document, ask bool) instanceView {
	b, p := readVM(d)
	view := instanceView{ComputerName: b.computerName(), HyperVGeneration: cmp.Or(p.Generation, "V2"), BootDiagnostics: map[string]any{},
		Statuses: []status{provisioning(d), s.powerStatus(d, p)}, Disks: []diskView{}}
	if p.Generalized {
		view.Statuses = append(view.Statuses, status{Code: "OSState/generalized", Level: "Info", DisplayStatus: "VM generalized"})
	}
	for _, e := range children {
		view.Extensions = append(view.Extensions, extensionView(e))
	}
	for _, disk := range b.disks() {
		view.Disks = append(view.Disks, diskView{disk.Name, []status{provisioning(d)}})
	}
	if size, ok := s.size(b.Properties.HardwareProfile.VMSize); ok {
		view.Hallmark = &hallmarkDetails{s.Machines.Accelerator(), size.Granted.VCPUs, size.Granted.MemoryMiB}
	}
	if ask && s.Machines.Running(p.Machine) {
		s.askAgent(ctx, p.Machine, &view)
	}
	return view
}

func (s *service) askAgent(ctx context.Context, machine string, view *instanceView) {
	ctx, cancel := context.WithTimeout(ctx, agentPatience)
	defer cancel()
	info, err := s.Machines.Agent(ctx, machine)
	if err != nil {
		view.VMAgent = &vmAgent{"Unknown", []status{{Code: "ProvisioningState/Unavailable", Level: "Warning", DisplayStatus: "Not Ready",
			Message: "VM status blob is found but not yet populated: the guest agent does not answer (yet)."}}}
		return
	}
	view.OSName, view.OSVersion, view.ComputerName = info.OSName, info.OSVersion, cmp.Or(info.HostName, view.ComputerName)
	view.VMAgent = &vmAgent{cmp.Or(info.Version, "Unknown"), []status{{Code: "ProvisioningState/succeeded", Level: "Info", DisplayStatus: "Ready", Message: "Guest Agent is running"}}}
}

func provisioning(d *store.Document) status {
	state := strings.ToLower(string(d.State()))
	at := d.UpdatedAt
	st := status{Code: "ProvisioningState/" + state, Level: "Info", DisplayStatus: "Provisioning " + state, Time: &at}
	if d.State() == arm.StateFailed {
		st.Level = "Error"
	}
	if !d.State().Terminal() {
		st.DisplayStatus = string(d.State())
	}
	return st
}

// powerStatus says what is, and while something is under way where it goes.
func (s *service) powerStatus(d *store.Document, p vmState) status {
	code := string(s.power(d, p))
	return status{Code: "PowerState/" + code, Level: "Info", DisplayStatus: "VM " + code}
}

func (s *service) power(d *store.Document, p vmState) power {
	runs, busy := s.Machines.Running(p.Machine), !d.State().Terminal()
	switch {
	case runs && busy && p.Want == stopped:
		return "stopping"
	case busy && p.Want == deallocated:
		return "deallocating"
	case runs:
		return running
	case busy && p.Want == running && !d.Deleting:
		return "starting"
	case p.Want == deallocated && p.Reached == deallocated:
		return deallocated
	}
	return stopped
}

// bootDiagnostics are routes, not actions, because they need the server's own URL or
// answer with plain text.
func (s *service) diagnosticRoutes() []provider.Route {
	const compute = "/subscriptions/{subscription}/resourceGroups/{resourceGroup}/providers/Microsoft.Compute/"
	return append(s.diagnosticsOf(TypeVM, compute+"virtualMachines/{name}/"), s.diagnosticsOf(TypeInstance, compute+"virtualMachineScaleSets/{set}/virtualMachines/{name}/")...)
}

func (s *service) diagnosticsOf(t arm.Type, vm string) []provider.Route {
	return []provider.Route{
		{Method: "POST", Pattern: vm + "retrieveBootDiagnosticsData", Permission: string(t) + "/retrieveBootDiagnosticsData/action", Handle: s.bootDiagnostics},
		{Method: "POST", Pattern: vm + "hallmarkIdentity", Permission: string(t) + "/hallmarkIdentity/action", Handle: s.hallmarkIdentity},
		{Method: "GET", Pattern: vm + "instanceView", Permission: string(t) + "/instanceView/read", Handle: s.instanceViewOf},
		{Method: "GET", Pattern: vm + "serialConsoleLog", Permission: string(t) + "/retrieveBootDiagnosticsData/action", Handle: s.serialConsoleLog},
	}
}

func vmOf(ctx context.Context, c *provider.Call) (*store.Document, error) {
	id := c.Scope.Resource(TypeVM, c.Vars["name"])
	if set := c.Vars["set"]; set != "" {
		id = c.Scope.Resource(TypeScaleSet, set).Child("virtualMachines", c.Vars["name"])
	}
	d, err := store.Get(ctx, c.Runtime.Store, id.Key())
	if errors.Is(err, store.ErrNotFound) {
		return nil, arm.NotFound(id)
	}
	return d, err
}

// maxConsole is how much of the end of a console is sent.
const maxConsole = 1 << 20

func (s *service) serialConsoleLog(ctx context.Context, c *provider.Call) (*provider.Response, error) {
	d, err := vmOf(ctx, c)
	if err != nil {
		return nil, err
	}
	_, p := readVM(d)
	text, err := s.Machines.Console(p.Machine, maxConsole)
	header := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	return &provider.Response{Status: http.StatusOK, Header: header, Body: bytes.ToValidUTF8(text, []byte("\uFFFD"))}, err
}
