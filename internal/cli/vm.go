package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
)

const typeVM = "Microsoft.Compute/virtualMachines"

var vmColumns = []column{
	{"Name", "name"}, {"ResourceGroup", "resourceGroup"}, {"Location", "location"},
	{"Size", "properties.hardwareProfile.vmSize"}, {"State", "powerState"}, {"Address", "address"}, {"Image", "image"},
}

func (a *App) vmCommand() *cobra.Command {
	command := &cobra.Command{Use: "vm", Short: "Create machines from images and look after them"}
	command.AddCommand(a.vmCreate(), a.vmList(), a.vmShow(), a.vmConsole(), a.vmSSH(), a.vmDelete(), a.vmRun(), a.vmVerify())
	for verb, action := range map[string]string{"start": "start", "stop": "powerOff", "restart": "restart", "deallocate": "deallocate"} {
		command.AddCommand(a.vmAction(verb, action))
	}
	return command
}

type vmOptions struct {
	scope
	image, size, admin, key, customData, location string
	tags                                          map[string]string
	awaitSSH                                      bool
}

func (a *App) vmCreate() *cobra.Command {
	var o vmOptions
	c := &cobra.Command{
		Use: "create NAME --image IMAGE", Short: "Create a machine", Args: cobra.ExactArgs(1),
		Long: "Creates a machine. IMAGE is a gallery version's or definition's id, GALLERY/DEFINITION[/VERSION], a managed image's id,\n" +
			"or a marketplace image as PUBLISHER:OFFER:SKU:VERSION.",
		Example: "  hallmark vm create web-1 --image golden/web-base\n  hallmark vm create test-1 --image Debian:debian-12:12-gen2:latest --await-ssh",
		RunE:    func(c *cobra.Command, arguments []string) error { return a.createVM(c.Context(), arguments[0], o) },
	}
	o.register(c)
	c.Flags().StringVar(&o.image, "image", "", "what to create the machine from")
	c.Flags().StringVar(&o.size, "size", "Standard_B1ms", "the machine's size, as Azure names it")
	c.Flags().StringVar(&o.admin, "admin-username", "azureuser", "the administrator's name")
	c.Flags().StringVar(&o.key, "ssh-key", "", "the administrator's public key, or a file with it (default: your own, made where there is none)")
	c.Flags().StringVar(&o.customData, "custom-data", "", "a cloud-init file to run at the first boot")
	c.Flags().StringVarP(&o.location, "location", "l", "", "the region (default: the context's)")
	c.Flags().StringToStringVar(&o.tags, "tags", nil, "tags, as name=value,…")
	c.Flags().BoolVar(&o.awaitSSH, "await-ssh", false, "return only when the machine answers over SSH")
	_ = c.MarkFlagRequired("image")
	return c
}

func (a *App) createVM(ctx context.Context, name string, o vmOptions) error {
	s, err := a.open(o.scope)
	if err != nil {
		return err
	}
	if o.location == "" {
		o.location = s.Location
	}
	body, err := s.vmDocument(ctx, name, o)
	if err != nil {
		return err
	}
	id := s.resource(typeVM, name)
	if err := s.Put(ctx, id, apiCompute, body, nil); err != nil {
		return errors.Join(err, s.forgetNetwork(ctx, id, name))
	}
	if o.awaitSSH {
		if err := s.awaitSSH(ctx, id); err != nil {
			return err
		}
	}
	machine, err := s.machine(ctx, id)
	if err != nil {
		return err
	}
	return a.print(machine, vmColumns...)
}

func (s *session) vmDocument(ctx context.Context, name string, o vmOptions) (map[string]any, error) {
	image, err := s.imageReference(o.image)
	if err != nil {
		return nil, err
	}
	key, err := s.app.sshPublicKey(o.key)
	if err != nil {
		return nil, err
	}
	if err := s.ensureGroup(ctx); err != nil {
		return nil, err
	}
	nic, err := s.ensureNetwork(ctx, name, o.location)
	if err != nil {
		return nil, err
	}
	profile := map[string]any{
		"computerName": computerName(name), "adminUsername": o.admin,
		"linuxConfiguration": map[string]any{
			"disablePasswordAuthentication": true,
			"ssh":                           map[string]any{"publicKeys": []any{map[string]any{"path": "/home/" + o.admin + "/.ssh/authorized_keys", "keyData": key}}},
		},
	}
	if o.customData != "" {
		if profile["customData"], err = base64File(o.customData); err != nil {
			return nil, err
		}
	}
	return map[string]any{
		"location": o.location, "tags": o.tags,
		"properties": map[string]any{
			"hardwareProfile": map[string]any{"vmSize": o.size},
			"storageProfile": map[string]any{
				"imageReference": image,
				// The disk goes with its machine: nothing else in this command names it.
				"osDisk": map[string]any{"createOption": "FromImage", "deleteOption": "Delete", "managedDisk": map[string]any{"storageAccountType": "Premium_LRS"}},
			},
			"osProfile":      profile,
			"networkProfile": map[string]any{"networkInterfaces": []any{map[string]any{"id": nic, "properties": map[string]any{"primary": true}}}},
		},
	}, nil
}

// computerName makes a host name (RFC 1123) of a machine's name.
func computerName(name string) string {
	clean := strings.NewReplacer(".", "-", "_", "-").Replace(name)
	return strings.Trim(clean[:min(len(clean), 63)], "-")
}

// imageReference reads the forms in which a user names an image.
func (s *session) imageReference(text string) (map[string]any, error) {
	if strings.HasPrefix(text, "/subscriptions/") {
		return map[string]any{"id": text}, nil
	}
	if urn := strings.Split(text, ":"); len(urn) == 4 {
		return map[string]any{"publisher": urn[0], "offer": urn[1], "sku": urn[2], "version": urn[3]}, nil
	}
	switch parts := strings.Split(text, "/"); len(parts) {
	case 2:
		return map[string]any{"id": s.resource(typeGalleryImage, parts...)}, nil
	case 3:
		return map[string]any{"id": s.resource(typeGalleryVersion, parts...)}, nil
	}
	return nil, usage("--image %q: want an id, GALLERY/DEFINITION[/VERSION] or PUBLISHER:OFFER:SKU:VERSION", text)
}

const subnetName = "default"

// ensureNetwork gives a machine what Azure demands: an interface in a subnet.
func (s *session) ensureNetwork(ctx context.Context, name, location string) (nic string, err error) {
	vnet := s.resource("Microsoft.Network/virtualNetworks", "hallmark-"+location)
	err = s.Get(ctx, vnet, apiNetwork, nil)
	if azure.IsNotFound(err) {
		err = s.Put(ctx, vnet, apiNetwork, map[string]any{
			"location": location,
			"properties": map[string]any{
				"addressSpace": map[string]any{"addressPrefixes": []string{"10.0.0.0/16"}},
				"subnets":      []any{map[string]any{"name": subnetName, "properties": map[string]any{"addressPrefix": "10.0.0.0/20"}}},
			},
		}, nil)
	}
	if err != nil {
		return "", err
	}
	nic = s.resource("Microsoft.Network/networkInterfaces", name+"-nic")
	return nic, s.Put(ctx, nic, apiNetwork, map[string]any{
		"location": location,
		"properties": map[string]any{"ipConfigurations": []any{map[string]any{
			"name": "ipconfig", "properties": map[string]any{
				"privateIPAllocationMethod": "Dynamic", "subnet": map[string]any{"id": vnet + "/subnets/" + subnetName},
			}},
		}},
	}, nil)
}

// forgetNetwork takes back the interface of a machine that was refused: it is nobody's.
func (s *session) forgetNetwork(ctx context.Context, id, name string) error {
	if err := s.Get(ctx, id, apiCompute, nil); !azure.IsNotFound(err) {
		return nil // it is there, if broken: its interface is part of what there is to see
	}
	return s.Delete(ctx, s.resource("Microsoft.Network/networkInterfaces", name+"-nic"), apiNetwork)
}

// machine is a VM's document with what a person wants to know beside it.
func (s *session) machine(ctx context.Context, id string) (map[string]any, error) {
	var vm map[string]any
	err := s.Do(ctx, azure.Request{Method: http.MethodGet, Path: id, APIVersion: apiCompute, Query: url.Values{"$expand": {"instanceView"}}}, &vm)
	if err != nil {
		return nil, err
	}
	s.decorate(ctx, vm)
	return vm, nil
}

func (s *session) decorate(ctx context.Context, vm map[string]any) {
	raw, _ := json.Marshal(vm)
	var known struct {
		ID         string
		Properties struct {
			StorageProfile struct{ ImageReference imageReference }
			NetworkProfile struct{ NetworkInterfaces []struct{ ID string } }
			InstanceView   struct{ Statuses []struct{ Code string } }
		}
	}
	if json.Unmarshal(raw, &known) != nil {
		return
	}
	p := known.Properties
	vm["resourceGroup"] = segmentAfter(known.ID, "resourceGroups")
	vm["image"] = p.StorageProfile.ImageReference.short()
	for _, status := range p.InstanceView.Statuses {
		if state, ok := strings.CutPrefix(status.Code, "PowerState/"); ok {
			vm["powerState"] = state
		}
	}
	if len(p.NetworkProfile.NetworkInterfaces) > 0 {
		vm["address"], _ = s.address(ctx, p.NetworkProfile.NetworkInterfaces[0].ID)
	}
}

type imageReference struct{ ID, Publisher, Offer, SKU, Version, ExactVersion string }

// short is how a person names the image, in the exact version where that is
// known.
func (r imageReference) short() string {
	version := cmp.Or(r.ExactVersion, r.Version)
	if r.ID == "" {
		return strings.Trim(strings.Join([]string{r.Publisher, r.Offer, r.SKU, version}, ":"), ":")
	}
	if gallery := segmentAfter(r.ID, "galleries"); gallery != "" {
		return strings.Trim(gallery+"/"+segmentAfter(r.ID, "images")+"/"+cmp.Or(segmentAfter(r.ID, "versions"), version), "/")
	}
	return r.ID[strings.LastIndexByte(r.ID, '/')+1:]
}

// segmentAfter finds the name after a segment of an ARM id, ignoring case.
func segmentAfter(id, segment string) string {
	parts := strings.Split(id, "/")
	for i := 0; i+1 < len(parts); i++ {
		if strings.EqualFold(parts[i], segment) {
			return parts[i+1]
		}
	}
	return ""
}

func (s *session) address(ctx context.Context, nic string) (string, error) {
	var document struct {
		Properties struct {
			IPConfigurations []struct {
				Properties struct{ PrivateIPAddress string }
			}
		}
	}
	if err := s.Get(ctx, nic, apiNetwork, &document); err != nil {
		return "", err
	}
	for _, c := range document.Properties.IPConfigurations {
		if c.Properties.PrivateIPAddress != "" {
			return c.Properties.PrivateIPAddress, nil
		}
	}
	return "", fmt.Errorf("%s has no private IP address", nic)
}

func (a *App) vmList() *cobra.Command {
	var where scope
	c := &cobra.Command{Use: "list", Short: "List machines", Args: cobra.NoArgs}
	where.register(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := a.open(where)
		if err != nil {
			return err
		}
		from := s.subscriptionID()
		if where.group != "" {
			from = s.groupID()
		}
		items, err := s.list(c.Context(), from+"/providers/"+typeVM, apiCompute, nil)
		if err != nil {
			return err
		}
		machines := []map[string]any{}
		for _, item := range items {
			var vm struct{ ID string }
			if err := json.Unmarshal(item, &vm); err != nil {
				return err
			}
			machine, err := s.machine(c.Context(), vm.ID)
			if azure.IsNotFound(err) { // deleted since the list was read
				continue
			}
			if err != nil {
				return err
			}
			machines = append(machines, machine)
		}
		return a.print(machines, vmColumns...)
	}
	return c
}

func (a *App) vmShow() *cobra.Command {
	return a.onVM("show NAME", "Show a machine", func(ctx context.Context, s *session, id string) error {
		machine, err := s.machine(ctx, id)
		if err != nil {
			return err
		}
		return a.print(machine, vmColumns...)
	})
}

func (a *App) vmDelete() *cobra.Command {
	return a.onVM("delete NAME", "Delete a machine and its interface", func(ctx context.Context, s *session, id string) error {
		if err := s.Get(ctx, id, apiCompute, nil); err != nil {
			return err
		}
		if err := s.Delete(ctx, id, apiCompute); err != nil {
			return err
		}
		name := id[strings.LastIndexByte(id, '/')+1:]
		return s.Delete(ctx, s.resource("Microsoft.Network/networkInterfaces", name+"-nic"), apiNetwork)
	})
}

func (a *App) vmAction(verb, action string) *cobra.Command {
	return a.onVM(verb+" NAME", strings.ToUpper(verb[:1])+verb[1:]+" a machine", func(ctx context.Context, s *session, id string) error {
		return s.post(ctx, id, action, apiCompute, nil, nil)
	})
}

// onVM makes a command that acts on one machine, named or given by its id.
func (a *App) onVM(use, short string, act func(context.Context, *session, string) error) *cobra.Command {
	var where scope
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1)}
	where.register(c)
	c.RunE = func(c *cobra.Command, arguments []string) error {
		s, err := a.open(where)
		if err != nil {
			return err
		}
		return act(c.Context(), s, s.resource(typeVM, arguments[0]))
	}
	return c
}
