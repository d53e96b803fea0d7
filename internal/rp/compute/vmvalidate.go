package compute

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
)

var (
	adminName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`) // what useradd(8) takes
	hostName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	digits    = regexp.MustCompile(`^[0-9]+$`)
)

// forbiddenAdmins are names that Azure refuses.
// Source: Azure's frequently asked questions about Linux virtual machines, "username requirements".
var forbiddenAdmins = strings.Fields(`administrator admin user user1 test user2 test1 user3 admin1 1 123 a actuser adm admin2 aspnet
	backup console david guest john owner root server sql support support_388945a0 sys test2 test3 user4 user5 video`)

const (
	maxCustomData = 65535 // bytes after decoding
	maxLUN        = 63
)

func (s *service) validateVM(w *provider.Write) []*arm.Error {
	var b vmBody
	if err := json.Unmarshal(w.Doc.Body, &b); err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidRequestContent, "properties", "The virtual machine cannot be read: %v.", err)}
	}
	_, p := readVM(w.Doc)
	l, _ := w.Loaded.(loadedVM)
	errs := append(s.checkSize(b), checkUserData(l)...)
	errs = append(errs, checkInterfaces(w, b, l)...)
	errs = append(errs, checkDataDisks(w, b, l)...)
	errs = append(errs, checkMembership(w, b, l)...)
	if w.Create() {
		errs = append(errs, s.checkImage(b, l, w.Doc.Location)...)
		errs = append(errs, checkOSProfile(b, l, p)...)
		return append(errs, checkSystemDisk(w, b, l)...)
	}
	return append(errs, s.checkChange(w, b, l, p)...)
}

func (s *service) checkSize(b vmBody) []*arm.Error {
	const at = "properties.hardwareProfile.vmSize"
	name := b.Properties.HardwareProfile.VMSize
	size, ok := s.size(name)
	if !ok {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at, "The value %s provided for the VM size is not valid. The valid sizes in the current region are: %s.", name, s.sizeNames())}
	}
	if n := len(b.Properties.StorageProfile.DataDisks); n > size.MaxDataDisks {
		return []*arm.Error{arm.Conflict("OperationNotAllowed", "properties.storageProfile.dataDisks", "The maximum number of data disks allowed to be attached to a VM of size %s is %d; there are %d.", size.Name, size.MaxDataDisks, n)}
	}
	if size.memory() > s.Memory {
		return []*arm.Error{arm.Conflict("SkuNotAvailable", at, "The requested size %s takes %d MiB of memory here, and all machines together may have %d MiB. Choose a smaller size.", size.Name, size.memory(), s.Memory)}
	}
	return nil
}

func (s *service) checkImage(b vmBody, l loadedVM, location string) []*arm.Error {
	disk := b.Properties.StorageProfile.OSDisk
	switch {
	case b.Properties.StorageProfile.ImageReference == nil && !strings.EqualFold(disk.CreateOption, "Attach"):
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, pathImageReference, "The machine needs an image reference, or an existing system disk (osDisk.createOption Attach with managedDisk.id).")}
	case b.Properties.StorageProfile.ImageReference != nil && strings.EqualFold(disk.CreateOption, "Attach"):
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, pathImageReference, "An image reference and osDisk.createOption Attach exclude each other.")}
	case !s.serves(location):
		return nil // nothing was looked up there
	case l.imageErr != nil:
		return []*arm.Error{l.imageErr}
	case strings.EqualFold(l.image.OSType, "Windows"):
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, pathImageReference, "The image %s is a Windows image; machines with Windows are not supported here.", l.image.ImageID)}
	}
	return nil
}

func checkSystemDisk(w *provider.Write, b vmBody, l loadedVM) (errs []*arm.Error) {
	const at = "properties.storageProfile.osDisk"
	d := b.Properties.StorageProfile.OSDisk
	found := l.disks[strings.ToLower(d.ManagedDisk.ID)]
	if strings.EqualFold(d.CreateOption, "Attach") {
		return checkAttached(w, d, found, at)
	}
	if len(d.VHD) > 0 && string(d.VHD) != "null" {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".vhd", "Unmanaged disks are not supported; use managedDisk."))
	}
	if found != nil {
		errs = append(errs, arm.Conflict(arm.CodeConflict, at+".name", "A disk with name '%s' already exists. Choose another name for the machine's system disk, or attach it.", d.Name))
	}
	if d.DiskSizeGB != 0 && d.DiskSizeGB*gib < l.image.SizeBytes {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".diskSizeGB",
			"The specified disk size %d GB is smaller than the size of the corresponding disk in the VM image: %d GB.", d.DiskSizeGB, gibFor(l.image.SizeBytes)))
	}
	return append(errs, checkNameAndDelete(d, at)...)
}

func checkNameAndDelete(d vmDisk, at string) (errs []*arm.Error) {
	if !diskName.MatchString(d.Name) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".name", "The disk name '%s' is not valid: %s.", d.Name, diskNameHint))
	}
	if d.DiskSizeGB < 0 || d.DiskSizeGB > 32767 {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".diskSizeGB", "The disk size is %d GB; it must be 1 to 32767.", d.DiskSizeGB))
	}
	return append(errs, checkDeleteOption(d.DeleteOption, at+".deleteOption")...)
}

func checkDeleteOption(option, at string) []*arm.Error {
	if option == "" || strings.EqualFold(option, "Delete") || strings.EqualFold(option, "Detach") {
		return nil
	}
	return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at, "The delete option is '%s'; it must be Delete or Detach.", option)}
}

func checkAttached(w *provider.Write, d vmDisk, found *facts, at string) []*arm.Error {
	switch {
	case found == nil:
		return []*arm.Error{arm.Errorf(404, arm.CodeResourceNotFound, "The disk '%s' was not found.", d.ManagedDisk.ID).At(at + ".managedDisk.id")}
	case found.leaving:
		return []*arm.Error{arm.Conflict("AttachDiskWhileBeingDetached", at+".managedDisk.id", "Cannot attach data disk '%s' to virtual machine '%s' because the disk is currently being detached or the last detach operation failed. "+
			"Please wait until the disk is completely detached and then try again.", d.Name, w.ID.Name())}
	case found.ManagedBy != "" && !strings.EqualFold(found.ManagedBy, w.ID.String()):
		return []*arm.Error{arm.Conflict("ConflictingUserInput", at+".managedDisk.id", "Disk '%s' cannot be attached as the disk is already owned by VM '%s'. Detach it there first.", d.ManagedDisk.ID, found.ManagedBy)}
	case arm.NormalLocation(found.Location) != w.Doc.Location:
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at+".managedDisk.id", "Disk '%s' is in location '%s'; the machine is in '%s'.", d.ManagedDisk.ID, found.Location, w.Doc.Location)}
	}
	return nil
}

func checkDataDisks(w *provider.Write, b vmBody, l loadedVM) (errs []*arm.Error) {
	luns, names := map[int]bool{}, map[string]bool{}
	for i, d := range b.Properties.StorageProfile.DataDisks {
		at := fmt.Sprintf("properties.storageProfile.dataDisks[%d]", i)
		switch {
		case d.LUN == nil || *d.LUN < 0 || *d.LUN > maxLUN:
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".lun", "The disk needs a LUN of 0 to %d.", maxLUN))
		case luns[*d.LUN]:
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".lun", "LUN %d is used by two data disks.", *d.LUN))
		default:
			luns[*d.LUN] = true
		}
		if names[strings.ToLower(d.ManagedDisk.ID)] {
			errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".name", "The disk '%s' is listed twice.", d.Name))
		}
		names[strings.ToLower(d.ManagedDisk.ID)] = true
		errs = append(errs, checkNameAndDelete(d, at)...)
		errs = append(errs, checkDataDisk(w, d, l.disks[strings.ToLower(d.ManagedDisk.ID)], at)...)
	}
	return errs
}

func checkDataDisk(w *provider.Write, d vmDisk, found *facts, at string) []*arm.Error {
	switch strings.ToLower(d.CreateOption) {
	case "attach":
		return checkAttached(w, d, found, at)
	case "empty", "copy":
		if found != nil && strings.EqualFold(found.ManagedBy, w.ID.String()) {
			return nil // made for this machine before
		}
		if found != nil {
			return []*arm.Error{arm.Conflict(arm.CodeConflict, at+".name", "A disk with name '%s' already exists. Choose another name, or attach it.", d.Name)}
		}
		if strings.EqualFold(d.CreateOption, "Copy") {
			return checkCopied(d, at)
		}
		if d.DiskSizeGB == 0 {
			return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at+".diskSizeGB", "An empty disk needs a size.")}
		}
		return nil
	}
	return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at+".createOption", "The create option '%s' is not supported for a data disk; it must be Empty, Attach or Copy.", d.CreateOption)}
}

func checkCopied(d vmDisk, at string) []*arm.Error {
	id, err := arm.ParseID(d.SourceResource.ID)
	if err == nil && (id.Type().Equal(TypeDisk) || id.Type().Equal(TypeSnapshot)) {
		return nil
	}
	return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at+".sourceResource.id", "'%s' is not the id of a disk or a snapshot.", d.SourceResource.ID)}
}

func checkInterfaces(w *provider.Write, b vmBody, l loadedVM) (errs []*arm.Error) {
	const at = "properties.networkProfile.networkInterfaces"
	if n := l.asked.Properties.NetworkProfile; w.Create() && len(n.NetworkInterfaces) == 0 {
		errs = append(errs, checkConfigurations(n.NetworkInterfaceConfigurations, "properties.networkProfile.networkInterfaceConfigurations")...)
	} else if w.Create() && len(n.NetworkInterfaceConfigurations) > 0 {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at, "networkInterfaces and networkInterfaceConfigurations exclude each other."))
	}
	for i, n := range b.Properties.NetworkProfile.NetworkInterfaces {
		where := fmt.Sprintf("%s[%d].id", at, i)
		errs = append(errs, checkInterface(w, n, l.interfaces[strings.ToLower(n.ID)], where)...)
		errs = append(errs, checkDeleteOption(n.Properties.DeleteOption, fmt.Sprintf("%s[%d].properties.deleteOption", at, i))...)
	}
	if n := len(b.Properties.NetworkProfile.NetworkInterfaces); n > 1 {
		errs = append(errs, arm.BadRequest("NetworkInterfaceCountExceeded", at, "The number of network interfaces for virtual machine %s exceeds the maximum allowed: there are %d, and a machine here has one.", w.ID.Name(), n))
	}
	return errs
}

func checkInterface(w *provider.Write, n vmInterface, body json.RawMessage, at string) []*arm.Error {
	id, err := arm.ParseID(n.ID)
	if err != nil || !isInterface(w.ID, id) {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at, "'%s' is not the id of a network interface.", n.ID)}
	}
	if body == nil {
		return []*arm.Error{arm.BadRequest("InvalidResourceReference", at, "Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists.", n.ID, w.ID)}
	}
	if vm := arm.GetString(body, "properties.virtualMachine.id"); vm != "" && !strings.EqualFold(vm, w.ID.String()) {
		return []*arm.Error{arm.BadRequest("NicInUse", at, "Network Interface %s is in use by another virtual machine: %s.", n.ID, vm)}
	}
	if where := arm.GetString(body, "location"); arm.NormalLocation(where) != w.Doc.Location {
		return []*arm.Error{arm.BadRequest("InvalidResourceReference", at, "Network interface %s is in %s; the machine is in %s.", n.ID, where, w.Doc.Location)}
	}
	return nil
}

// isInterface reports whether the id is one of an interface that the machine can have.
func isInterface(vm, id arm.ID) bool {
	return id.Type().Equal(typeInterface) || vm.Type().Equal(TypeInstance) && vm.Contains(id) && strings.EqualFold(id.Type().Name(), "networkInterfaces")
}

func checkOSProfile(b vmBody, l loadedVM, p vmState) []*arm.Error {
	o := b.Properties.OSProfile
	specialized := p.Specialized || b.Properties.StorageProfile.ImageReference == nil
	switch {
	case o == nil && specialized:
		return nil
	case o == nil:
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, "osProfile", "Required parameter 'osProfile' is missing (null).")}
	case specialized:
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, "osProfile", "Parameter 'osProfile' is not allowed: the system disk is specialized, it has its users and its name already.")}
	}
	errs := checkHostName(o.ComputerName)
	errs = append(errs, checkAdmin(o.AdminUsername)...)
	errs = append(errs, checkLogin(o, l.password, p.PasswordHash != "")...)
	return append(errs, checkCustomData(l.customData)...)
}

func checkHostName(name string) []*arm.Error {
	if hostName.MatchString(name) && !digits.MatchString(name) {
		return nil
	}
	return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, "osProfile.computerName",
		"Linux host name '%s' is not valid: it has at most 63 letters, digits and dashes, does not begin or end with a dash, and is not only digits.", name)}
}

func checkAdmin(name string) []*arm.Error {
	const at = "osProfile.adminUsername"
	if slices.Contains(forbiddenAdmins, strings.ToLower(name)) {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at, "The Admin Username specified, '%s', is not allowed: such names are guessed first. Choose another.", name)}
	}
	if !adminName.MatchString(name) {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, at, "The Admin Username '%s' is not valid: 1 to 32 lower-case letters, digits, underscores or dashes, not beginning with a digit or dash.", name)}
	}
	return nil
}

// checkLogin looks at keys and password; hashed says that there is a password, although it
// may not be readable any more.
func checkLogin(o *osProfile, password string, hashed bool) (errs []*arm.Error) {
	keys, locked := 0, false
	if c := o.LinuxConfiguration; c != nil {
		locked = c.DisablePasswordAuthentication
		for i, k := range c.SSH.PublicKeys {
			keys++
			errs = append(errs, checkKey(k.Path, k.KeyData, o.AdminUsername, fmt.Sprintf("osProfile.linuxConfiguration.ssh.publicKeys[%d]", i))...)
		}
	}
	switch {
	case locked && password != "":
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "osProfile.adminPassword", "Parameter 'adminPassword' is not allowed when disablePasswordAuthentication is set."))
	case locked && keys == 0:
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "osProfile.linuxConfiguration.ssh.publicKeys", "Authentication using either SSH or by user name and password must be enabled: give an SSH public key."))
	case !locked && keys == 0 && password == "" && !hashed:
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "osProfile.adminPassword", "Authentication using either SSH or by user name and password must be enabled: give a password or an SSH public key."))
	}
	if password != "" && !strongPassword(password) {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, "osProfile.adminPassword",
			"The supplied password must be between 6-72 characters long and must satisfy at least 3 of password complexity requirements from the following: an uppercase character, a lowercase character, a numeric digit, a special character."))
	}
	return errs
}

func checkKey(path, key, admin, at string) (errs []*arm.Error) {
	if want := "/home/" + admin + "/.ssh/authorized_keys"; path != "" && path != want {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".path", "Destination path for SSH public keys is currently limited to its default value %s.", want))
	}
	_, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(key))
	if err != nil || len(strings.TrimSpace(string(rest))) > 0 {
		errs = append(errs, arm.BadRequest(arm.CodeInvalidParameter, at+".keyData", "The value of parameter %s.keyData is not one SSH public key as in ~/.ssh/id_ed25519.pub.", at))
	}
	return errs
}

func strongPassword(p string) bool {
	classes := map[string]bool{}
	for _, r := range p {
		switch {
		case unicode.IsControl(r):
			return false // chpasswd(8) reads lines
		case unicode.IsUpper(r):
			classes["upper"] = true
		case unicode.IsLower(r):
			classes["lower"] = true
		case unicode.IsDigit(r):
			classes["digit"] = true
		default:
			classes["special"] = true
		}
	}
	return len(p) >= 6 && len(p) <= 72 && len(classes) >= 3
}

func checkCustomData(text string) []*arm.Error {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, "osProfile.customData", "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.")}
	}
	if len(data) > maxCustomData {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, "osProfile.customData", "Custom data has %d bytes; it may have %d.", len(data), maxCustomData)}
	}
	return nil
}

func checkUserData(l loadedVM) []*arm.Error {
	if l.userData == nil {
		return nil
	}
	if data, err := base64.StdEncoding.DecodeString(*l.userData); err != nil || len(data) > maxCustomData {
		return []*arm.Error{arm.BadRequest(arm.CodeInvalidParameter, "userData", "User data must be in Base64 encoding and have at most %d bytes.", maxCustomData)}
	}
	return nil
}

// checkChange refuses changes of what is decided at creation.
func (s *service) checkChange(w *provider.Write, b vmBody, l loadedVM, p vmState) (errs []*arm.Error) {
	for _, path := range []string{"id", "publisher", "offer", "sku", "version"} {
		errs = append(errs, unchanged(w, pathImageReference+"."+path)...)
	}
	for _, path := range []string{
		"storageProfile.osDisk.name", "storageProfile.osDisk.managedDisk.id", "storageProfile.osDisk.createOption",
		"osProfile.computerName", "osProfile.adminUsername",
	} {
		errs = append(errs, unchanged(w, "properties."+path)...)
	}
	old, _ := readVM(w.Old)
	if sshKeys(b) != sshKeys(old) {
		errs = append(errs, immutable("properties.osProfile.linuxConfiguration.ssh.publicKeys"))
	}
	if l.password != "" && bcrypt.CompareHashAndPassword([]byte(p.PasswordHash), []byte(l.password)) != nil {
		errs = append(errs, immutable("properties.osProfile.adminPassword"))
	}
	if data, _ := base64.StdEncoding.DecodeString(l.customData); l.customData != "" {
		if before, err := s.open(p.CustomData); err != nil || string(data) != string(before) {
			errs = append(errs, immutable("properties.osProfile.customData"))
		}
	}
	return append(errs, checkOffline(b, old, p)...)
}

func unchanged(w *provider.Write, path string) []*arm.Error {
	if strings.EqualFold(arm.GetString(w.Old.Body, path), arm.GetString(w.Doc.Body, path)) {
		return nil
	}
	return []*arm.Error{immutable(path)}
}

func sshKeys(b vmBody) string {
	o := b.Properties.OSProfile
	if o == nil || o.LinuxConfiguration == nil {
		return ""
	}
	var keys []string
	for _, k := range o.LinuxConfiguration.SSH.PublicKeys {
		keys = append(keys, strings.TrimSpace(k.KeyData))
	}
	return strings.Join(keys, "\n")
}

// checkOffline refuses changes that a machine, or a running one, cannot take. A resize is none of them: as in Azure it restarts the machine.
func checkOffline(b, old vmBody, p vmState) (errs []*arm.Error) {
	if fmt.Sprint(interfaceIDs(b)) != fmt.Sprint(interfaceIDs(old)) && p.Born {
		errs = append(errs, arm.Conflict("OperationNotAllowed", "networkProfile.networkInterfaces",
			"The machine's network interface cannot be exchanged: its guest has learned its address at its first boot. Create a new machine on the old one's disk."))
	}
	return errs
}

func interfaceIDs(b vmBody) (ids []string) {
	for _, n := range b.Properties.NetworkProfile.NetworkInterfaces {
		ids = append(ids, strings.ToLower(n.ID))
	}
	return ids
}
