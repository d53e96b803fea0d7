package compute

import (
	"encoding/json"
	"strings"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/store"
)

// vmBody is what this provider reads of a machine's document.
type vmBody struct {
	Location   string
	Properties struct {
		VMID            string
		HardwareProfile struct{ VMSize string }
		StorageProfile  struct {
			ImageReference *imageReference
			OSDisk         vmDisk
			DataDisks      []vmDisk
		}
		OSProfile      *osProfile
		NetworkProfile struct {
			NetworkInterfaces              []vmInterface
			NetworkInterfaceConfigurations []json.RawMessage
		}
		VirtualMachineScaleSet struct{ ID string }
	}
}

type vmDisk struct {
	LUN          *int
	Name         string
	OSType       string
	CreateOption string
	DeleteOption string
	DiskSizeGB   int64
	ManagedDisk  struct{ ID, StorageAccountType string }
	// SourceResource is what a disk with createOption Copy is a copy of.
	SourceResource struct{ ID string }
	ToBeDetached   bool
	VHD            json.RawMessage
}

type vmInterface struct {
	ID         string
	Properties struct {
		Primary      *bool
		DeleteOption string
	}
}

type osProfile struct {
	ComputerName       string
	AdminUsername      string
	AdminPassword      string
	CustomData         string
	LinuxConfiguration *struct {
		DisablePasswordAuthentication bool
		SSH                           struct {
			PublicKeys []struct{ Path, KeyData string }
		}
	}
	WindowsConfiguration json.RawMessage
}

// power is a state that somebody wants a machine to be in.
type power string

const (
	running     power = "running"
	stopped     power = "stopped"     // powered off, its memory kept for it
	deallocated power = "deallocated" // powered off, its memory given back
)

// vmState is a machine's Private: what is wanted beyond the document, what has
// been decided, and what has been done.
type vmState struct {
	// Machine names the machine for its engine; decided at creation, equal to vmId.
	Machine string `json:"machine"`
	Want    power  `json:"want"`
	// Reached is what Reconcile last brought the machine to; a machine that should
	// run and does not, after running was reached, has ended by itself.
	Reached power `json:"reached,omitempty"`
	// Born: the machine has been where it should be at least once.
	Born bool `json:"born,omitempty"`
	// Restart, Reimage and SkipShutdown are what the next pass has to do on its way.
	Restart      bool `json:"restart,omitempty"`
	Reimage      bool `json:"reimage,omitempty"`
	Reapply      bool `json:"reapply,omitempty"` // extensions have to run again in the new guest
	SkipShutdown bool `json:"skipShutdown,omitempty"`
	Generalized  bool `json:"generalized,omitempty"`

	PasswordHash string `json:"passwordHash,omitempty"` // crypt(5)
	CustomData   []byte `json:"customData,omitempty"`   // sealed
	UserData     string `json:"userData,omitempty"`     // base64, as sent
	// Instance counts the times that the guest must take itself for new (reimage).
	Instance int `json:"instance"`

	// Image is what the image reference stood for at creation.
	Source     source `json:"source"`
	ImageID    string `json:"imageId,omitempty"`
	Generation string `json:"generation,omitempty"`
	// Specialized systems get no user, key or host name.
	Specialized bool `json:"specialized,omitempty"`

	// Joined are the disks and interfaces that the machine has claimed, or is about to,
	// by lower-case id; what is no longer in the document has to be let go.
	Joined []string `json:"joined,omitempty"`
	// MemoryMiB is what has been reserved, for which size.
	MemoryMiB int64  `json:"memoryMiB,omitempty"`
	Size      string `json:"size,omitempty"`
	// BootID is the host's boot in which the machine was last started.
	BootID string `json:"bootId,omitempty"`

	Command *command `json:"command,omitempty"`

	// Interface is the configuration of the interface that the machine makes itself.
	Interface json.RawMessage `json:"interface,omitempty"`
	// Model is the fingerprint of the scale set's model that the machine follows.
	Model string `json:"model,omitempty"`
	// Discarded are disks that go as soon as the machine has let go of them, by lower-case id.
	Discarded []string `json:"discarded,omitempty"`
	// Error is why the machine failed, for the scale set that waits for it.
	Error *arm.Error `json:"error,omitempty"`
}

func readVM(d *store.Document) (b vmBody, p vmState) {
	_ = json.Unmarshal(d.Body, &b) // Validate reports what cannot be read
	_ = json.Unmarshal(d.Private, &p)
	return b, p
}

// disks are the machine's disks, the system's first.
func (b vmBody) disks() []vmDisk {
	return append([]vmDisk{b.Properties.StorageProfile.OSDisk}, b.Properties.StorageProfile.DataDisks...)
}

// attached is what the document says the machine has, by lower-case id.
func (b vmBody) attached() []string {
	var ids []string
	for _, d := range b.disks() {
		ids = append(ids, strings.ToLower(d.ManagedDisk.ID))
	}
	for _, n := range b.Properties.NetworkProfile.NetworkInterfaces {
		ids = append(ids, strings.ToLower(n.ID))
	}
	return ids
}

// goesWith is what the document says is deleted with the machine.
func (b vmBody) goesWith() []string {
	var ids []string
	for _, d := range b.disks() {
		if strings.EqualFold(d.DeleteOption, "Delete") {
			ids = append(ids, d.ManagedDisk.ID)
		}
	}
	for _, n := range b.Properties.NetworkProfile.NetworkInterfaces {
		if strings.EqualFold(n.Properties.DeleteOption, "Delete") {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

func (b vmBody) computerName() string {
	if b.Properties.OSProfile == nil {
		return ""
	}
	return b.Properties.OSProfile.ComputerName
}

// machineTypes are the types whose documents are machines.
var machineTypes = []arm.Type{TypeVM, TypeInstance}

// machineName is what people call a machine: an instance has its scale set's name in front.
func machineName(id arm.ID) string {
	if id.Type().Equal(TypeInstance) {
		return id.Parent().Name() + "_" + id.Name()
	}
	return id.Name()
}

func diskID(vm arm.ID, name string) string { return vm.Scope().Resource(TypeDisk, name).String() }
