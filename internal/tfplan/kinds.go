package tfplan

import "strings"

// kind is how a resource type of a provider is translated.
type kind struct {
	armType    string
	apiVersion string
	names      []string // the attributes with the names along the id
	fields     []field
	azapi      bool
	finish     func(*writer, node)
}

// kinds are the types that are translated, by their names in Terraform.
func kinds() map[string]kind {
	return map[string]kind{
		"azurerm_linux_virtual_machine":                  {armType: vm, names: named, fields: linuxVM(), finish: trustedLaunch("properties")},
		"azurerm_windows_virtual_machine":                {armType: vm, names: named, fields: windowsVM(), finish: trustedLaunch("properties")},
		"azurerm_virtual_machine":                        {armType: vm, names: named, fields: legacyVM()},
		"azurerm_virtual_machine_extension":              {armType: vm + "/extensions", names: named, fields: extension("properties"), finish: belowMachine},
		"azurerm_linux_virtual_machine_scale_set":        {armType: vmss, names: named, fields: uniformSet(linuxOS()), finish: trustedLaunch("properties.virtualMachineProfile")},
		"azurerm_windows_virtual_machine_scale_set":      {armType: vmss, names: named, fields: uniformSet(windowsOS()), finish: trustedLaunch("properties.virtualMachineProfile")},
		"azurerm_orchestrated_virtual_machine_scale_set": {armType: vmss, names: named, fields: flexibleSet()},
		"azurerm_managed_disk":                           {armType: "Microsoft.Compute/disks", names: named, fields: managedDisk()},
		"azurerm_image":                                  {armType: "Microsoft.Compute/images", names: named, fields: managedImage()},
		"azurerm_shared_image_gallery":                   {armType: gallery, names: named, fields: sharedGallery()},
		"azurerm_shared_image":                           {armType: gallery + "/images", names: []string{"gallery_name", "name"}, fields: sharedImage(), finish: imageFeatures},
		"azurerm_shared_image_version":                   {armType: gallery + "/images/versions", names: []string{"gallery_name", "image_name", "name"}, fields: sharedImageVersion()},
		"azurerm_resource_group":                         {armType: "Microsoft.Resources/resourceGroups", names: named, fields: top()},
		"azapi_resource":                                 {azapi: true},
		"azapi_update_resource":                          {azapi: true},
	}
}

const (
	vm      = "Microsoft.Compute/virtualMachines"
	vmss    = "Microsoft.Compute/virtualMachineScaleSets"
	gallery = "Microsoft.Compute/galleries"
)

var named = []string{"name"}

func kindOf(tf string) (kind, bool) {
	k, ok := kinds()[tf]
	return k, ok
}

// computed are attributes that providers fill in; they say nothing that a policy
// could read under another name.
var computed = []string{"id", "timeouts", "resource_group_name", "name", "gallery_name", "image_name", "private_ip_address", "private_ip_addresses",
	"public_ip_address", "public_ip_addresses", "virtual_machine_id", "unique_id", "unique_name", "vm_agent_platform_updates_enabled", "output",
	"delete_os_disk_on_termination", "delete_data_disks_on_termination", "principal_id", "tenant_id"}

func (k kind) write(w *writer, n node) {
	if k.azapi {
		writeAzapi(w, n)
		return
	}
	r := w.resource
	r.ARMType = k.armType
	w.set("type", k.armType, "")
	for _, attribute := range k.names {
		if name := n.get(attribute); name.hidden() {
			w.hide("name", attribute)
			r.Names = nil
			break
		} else {
			r.Names = append(r.Names, name.text())
		}
	}
	if len(r.Names) > 0 {
		w.set("name", strings.Join(r.Names, "/"), "name")
	}
	if group := n.get("resource_group_name"); !group.hidden() {
		r.ResourceGroup = group.text()
	}
	if id := n.get("id"); !id.hidden() {
		r.ID = id.text()
	}
	w.write(k.fields, n, "", "", computed...)
	if k.finish != nil {
		k.finish(w, n)
	}
}

// ---- what many types share ----

func constant(to string, v any) field { return field{to: to, is: v} }

func at(from, to string) field { return field{from: from, to: to} }

func as(from, to string, f func(any) any) field { return field{from: from, to: to, as: f} }

func block(from, to string, fields ...field) field { return field{from: from, to: to, block: fields} }

func blocks(from, to string, fields ...field) field {
	return field{from: from, to: to, block: fields, each: true}
}

func members(from, to, member string) field { return field{from: from, to: to, member: member} }

// fieldsIn are fields below a path.
func fieldsIn(path string, fields []field) []field {
	moved := make([]field, len(fields))
	for i, f := range fields {
		f.to = join(path, f.to)
		moved[i] = f
	}
	return moved
}

func concat(lists ...[]field) []field {
	var all []field
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// location is as ARM stores it: West Europe is westeurope.
func location(v any) any {
	s, _ := v.(string)
	return strings.ToLower(strings.ReplaceAll(s, " ", ""))
}

func enabled(v any) any {
	if v == true {
		return "Enabled"
	}
	return "Disabled"
}

func onlyTrue(v any) any {
	if v == true {
		return true
	}
	return nil
}

func one(v any) any {
	if s, _ := v.(string); s == "" {
		return nil
	}
	return []any{v}
}

// notMinusOne leaves out -1, which means that the service decides.
func notMinusOne(v any) any {
	if n, ok := v.(interface{ String() string }); ok && n.String() == "-1" {
		return nil
	}
	return v
}

func top() []field {
	return []field{
		as("location", "location", location), at("tags", "tags"),
		block("identity", "identity", at("type", "type"), as("identity_ids", "userAssignedIdentities", keys), at("principal_id", "principalId"), at("tenant_id", "tenantId")),
		block("plan", "plan", at("name", "name"), at("product", "product"), at("publisher", "publisher")),
		as("edge_zone", "extendedLocation.name", nil),
	}
}

// keys turns ids into the members of an object, as ARM lists identities.
func keys(v any) any {
	list, _ := v.([]any)
	if len(list) == 0 {
		return nil
	}
	object := map[string]any{}
	for _, id := range list {
		if s, ok := id.(string); ok {
			object[s] = map[string]any{}
		}
	}
	return object
}

// imageReference says which image a machine is made from.
func imageReference() []field {
	const to = "storageProfile.imageReference"
	return []field{
		{from: "source_image_id", to: to, as: imageByID},
		block("source_image_reference", to, at("publisher", "publisher"), at("offer", "offer"), at("sku", "sku"), at("version", "version")),
	}
}

// imageByID names an image by the member that its id belongs into. While it is
// unknown the whole reference is.
func imageByID(v any) any {
	id, _ := v.(string)
	switch lower := strings.ToLower(id); {
	case id == "":
		return nil
	case strings.HasPrefix(lower, "/communitygalleries/"):
		return map[string]any{"communityGalleryImageId": id}
	case strings.HasPrefix(lower, "/sharedgalleries/"):
		return map[string]any{"sharedGalleryImageId": id}
	}
	return map[string]any{"id": id}
}

func managed() []field {
	return []field{at("storage_account_type", "managedDisk.storageAccountType"), at("disk_encryption_set_id", "managedDisk.diskEncryptionSet.id")}
}

func osDisk(os string) field {
	fields := concat(managed(), []field{
		constant("createOption", "FromImage"), at("caching", "caching"), at("disk_size_gb", "diskSizeGB"), at("name", "name"), at("id", "managedDisk.id"),
		at("write_accelerator_enabled", "writeAcceleratorEnabled"), at("security_encryption_type", "managedDisk.securityProfile.securityEncryptionType"),
		at("secure_vm_disk_encryption_set_id", "managedDisk.securityProfile.diskEncryptionSet.id"),
		block("diff_disk_settings", "diffDiskSettings", at("option", "option"), at("placement", "placement")),
	})
	if os != "" {
		fields = append(fields, constant("osType", os))
	}
	return block("os_disk", "storageProfile.osDisk", fields...)
}

func setDataDisks() field {
	return blocks("data_disk", "storageProfile.dataDisks", concat(managed(), []field{
		at("create_option", "createOption"), at("caching", "caching"), at("disk_size_gb", "diskSizeGB"), at("lun", "lun"), at("name", "name"),
		at("write_accelerator_enabled", "writeAcceleratorEnabled"), at("ultra_ssd_disk_iops_read_write", "diskIOPSReadWrite"),
		at("ultra_ssd_disk_mbps_read_write", "diskMBpsReadWrite"),
	})...)
}

// bootDiagnostics are on if the block is there; without an account they are managed.
func bootDiagnostics() field {
	return block("boot_diagnostics", "diagnosticsProfile.bootDiagnostics", constant("enabled", true), at("storage_account_uri", "storageUri"))
}

// security is what machines and scale sets have of a security profile.
func security() []field {
	return []field{
		as("encryption_at_host_enabled", "securityProfile.encryptionAtHost", onlyTrue),
		as("secure_boot_enabled", "securityProfile.uefiSettings.secureBootEnabled", onlyTrue),
		as("vtpm_enabled", "securityProfile.uefiSettings.vTpmEnabled", onlyTrue),
	}
}

// trustedLaunch is the security type that secure boot and vTPM imply.
func trustedLaunch(properties string) func(*writer, node) {
	return func(w *writer, n node) {
		to := properties + ".securityProfile.securityType"
		confidential := n.get("os_disk").at(0).get("security_encryption_type")
		secure, tpm := n.get("secure_boot_enabled"), n.get("vtpm_enabled")
		switch {
		case confidential.hidden() || secure.hidden() || tpm.hidden():
			w.hide(to, "secure_boot_enabled")
		case confidential.text() != "":
			w.set(to, "ConfidentialVM", "os_disk.security_encryption_type")
		case secure.value == true:
			w.set(to, "TrustedLaunch", "secure_boot_enabled")
		case tpm.value == true:
			w.set(to, "TrustedLaunch", "vtpm_enabled")
		}
	}
}

// login are the members of an OS profile that name a user and its secrets.
func login() []field {
	return []field{at("admin_username", "adminUsername"), at("admin_password", "adminPassword"), at("custom_data", "customData"),
		at("computer_name", "computerName"), at("computer_name_prefix", "computerNamePrefix")}
}

func linuxConfiguration() []field {
	return []field{
		at("disable_password_authentication", "disablePasswordAuthentication"), at("provision_vm_agent", "provisionVMAgent"),
		at("patch_mode", "patchSettings.patchMode"), at("patch_assessment_mode", "patchSettings.assessmentMode"),
		at("reboot_setting", "patchSettings.automaticByPlatformSettings.rebootSetting"),
		as("bypass_platform_safety_checks_on_user_schedule_enabled", "patchSettings.automaticByPlatformSettings.bypassPlatformSafetyChecksOnUserSchedule", onlyTrue),
		blocks("admin_ssh_key", "ssh.publicKeys", at("public_key", "keyData"), as("username", "path", func(v any) any {
			s, _ := v.(string)
			return "/home/" + s + "/.ssh/authorized_keys"
		})),
	}
}

func windowsConfiguration() []field {
	return []field{
		at("automatic_updates_enabled", "enableAutomaticUpdates"), at("enable_automatic_updates", "enableAutomaticUpdates"), at("provision_vm_agent", "provisionVMAgent"),
		at("timezone", "timeZone"), at("patch_mode", "patchSettings.patchMode"), at("patch_assessment_mode", "patchSettings.assessmentMode"),
		at("hotpatching_enabled", "patchSettings.enableHotpatching"), at("reboot_setting", "patchSettings.automaticByPlatformSettings.rebootSetting"),
		as("bypass_platform_safety_checks_on_user_schedule_enabled", "patchSettings.automaticByPlatformSettings.bypassPlatformSafetyChecksOnUserSchedule", onlyTrue),
		blocks("winrm_listener", "winRM.listeners", at("protocol", "protocol"), at("certificate_url", "certificateUrl")),
		blocks("additional_unattend_content", "additionalUnattendContent", at("setting", "settingName"), at("content", "content"),
			constant("passName", "OobeSystem"), constant("componentName", "Microsoft-Windows-Shell-Setup")),
	}
}

// extension is a machine extension; on a scale set it has a name.
func extension(to string) []field {
	fields := []field{
		at("publisher", "publisher"), at("type", "type"), at("type_handler_version", "typeHandlerVersion"),
		at("auto_upgrade_minor_version", "autoUpgradeMinorVersion"), at("automatic_upgrade_enabled", "enableAutomaticUpgrade"),
		at("failure_suppression_enabled", "suppressFailures"), at("force_update_tag", "forceUpdateTag"), at("force_extension_execution_on_change", "forceUpdateTag"),
		at("provision_after_extensions", "provisionAfterExtensions"), at("extensions_to_provision_after_vm_creation", "provisionAfterExtensions"),
		as("settings", "settings", fromJSON), at("protected_settings", "protectedSettings"),
		blocks("protected_settings_from_key_vault", "protectedSettingsFromKeyVault", at("secret_url", "secretUrl"), at("source_vault_id", "sourceVault.id")),
	}
	if to == "properties" {
		return append(fieldsIn(to, fields), at("tags", "tags"))
	}
	return append([]field{at("name", "name")}, fieldsIn(to, fields)...)
}

// belowMachine names an extension after its machine.
func belowMachine(w *writer, n node) {
	r, name := w.resource, n.get("name").text()
	parent := n.get("virtual_machine_id")
	if parent.hidden() || name == "" {
		r.Names = []string{name}
		r.ParentAddress, _ = w.idOf("virtual_machine_id")
		w.unset("name")
		r.Unknown = append(r.Unknown, "name")
		return
	}
	r.ParentID = parent.text()
	parts := strings.Split(strings.Trim(r.ParentID, "/"), "/")
	r.Names = []string{parts[len(parts)-1], name}
	w.set("name", strings.Join(r.Names, "/"), "name")
}
