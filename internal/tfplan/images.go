package tfplan

func managedDisk() []field {
	key := func(from, to, member string) field {
		return block(from, to, at("secret_url", member), at("key_url", member), at("source_vault_id", "sourceVault.id"))
	}
	return concat(top(), []field{as("zone", "zones", one), at("storage_account_type", "sku.name")}, fieldsIn("properties", []field{
		at("create_option", "creationData.createOption"), at("image_reference_id", "creationData.imageReference.id"),
		at("gallery_image_reference_id", "creationData.galleryImageReference.id"), at("source_resource_id", "creationData.sourceResourceId"),
		at("source_uri", "creationData.sourceUri"), at("storage_account_id", "creationData.storageAccountId"), at("logical_sector_size", "creationData.logicalSectorSize"),
		at("upload_size_bytes", "creationData.uploadSizeBytes"), as("performance_plus_enabled", "creationData.performancePlus", onlyTrue),
		at("disk_size_gb", "diskSizeGB"), at("os_type", "osType"), at("hyper_v_generation", "hyperVGeneration"), at("tier", "tier"), at("max_shares", "maxShares"),
		at("disk_encryption_set_id", "encryption.diskEncryptionSetId"), at("network_access_policy", "networkAccessPolicy"), at("disk_access_id", "diskAccessId"),
		as("public_network_access_enabled", "publicNetworkAccess", enabled), as("on_demand_bursting_enabled", "burstingEnabled", onlyTrue),
		as("optimized_frequent_attach_enabled", "optimizedForFrequentAttach", onlyTrue),
		at("disk_iops_read_write", "diskIOPSReadWrite"), at("disk_mbps_read_write", "diskMBpsReadWrite"),
		at("disk_iops_read_only", "diskIOPSReadOnly"), at("disk_mbps_read_only", "diskMBpsReadOnly"),
		as("trusted_launch_enabled", "securityProfile.securityType", func(v any) any {
			if v == true {
				return "TrustedLaunch"
			}
			return nil
		}),
		at("security_type", "securityProfile.securityType"), at("secure_vm_disk_encryption_set_id", "securityProfile.secureVMDiskEncryptionSetId"),
		block("encryption_settings", "encryptionSettingsCollection", constant("enabled", true),
			key("disk_encryption_key", "encryptionSettings[0].diskEncryptionKey", "secretUrl"),
			key("key_encryption_key", "encryptionSettings[0].keyEncryptionKey", "keyUrl")),
	}))
}

func managedImage() []field {
	disk := []field{
		at("managed_disk_id", "managedDisk.id"), at("blob_uri", "blobUri"), at("caching", "caching"), at("size_gb", "diskSizeGB"),
		at("storage_type", "storageAccountType"), at("disk_encryption_set_id", "diskEncryptionSet.id"),
	}
	return concat(top(), fieldsIn("properties", []field{
		at("source_virtual_machine_id", "sourceVirtualMachine.id"), at("hyper_v_generation", "hyperVGeneration"), at("zone_resilient", "storageProfile.zoneResilient"),
		block("os_disk", "storageProfile.osDisk", append(disk, at("os_type", "osType"), at("os_state", "osState"))...),
		blocks("data_disk", "storageProfile.dataDisks", append(disk, at("lun", "lun"))...),
	}))
}

func sharedGallery() []field {
	return concat(top(), fieldsIn("properties", []field{
		at("description", "description"),
		block("sharing", "sharingProfile", at("permission", "permissions"), block("community_gallery", "communityGalleryInfo", at("eula", "eula"),
			at("prefix", "publicNamePrefix"), at("publisher_email", "publisherContact"), at("publisher_uri", "publisherUri"))),
	}))
}

func sharedImage() []field {
	return concat(top(), fieldsIn("properties", []field{
		at("os_type", "osType"), as("specialized", "osState", func(v any) any {
			if v == true {
				return "Specialized"
			}
			return "Generalized"
		}),
		block("identifier", "identifier", at("publisher", "publisher"), at("offer", "offer"), at("sku", "sku")),
		block("purchase_plan", "purchasePlan", at("name", "name"), at("publisher", "publisher"), at("product", "product")),
		at("hyper_v_generation", "hyperVGeneration"), at("architecture", "architecture"), at("description", "description"), at("eula", "eula"),
		at("privacy_statement_uri", "privacyStatementUri"), at("release_note_uri", "releaseNoteUri"), at("end_of_life_date", "endOfLifeDate"),
		at("disk_types_not_allowed", "disallowed.diskTypes"), at("max_recommended_vcpu_count", "recommended.vCPUs.max"), at("min_recommended_vcpu_count", "recommended.vCPUs.min"),
		at("max_recommended_memory_in_gb", "recommended.memory.max"), at("min_recommended_memory_in_gb", "recommended.memory.min"),
		{from: "trusted_launch_supported", to: "features", as: never}, {from: "trusted_launch_enabled", to: "features", as: never},
		{from: "confidential_vm_supported", to: "features", as: never}, {from: "confidential_vm_enabled", to: "features", as: never},
		{from: "accelerated_network_support_enabled", to: "features", as: never}, {from: "hibernation_enabled", to: "features", as: never},
		{from: "disk_controller_type_nvme_enabled", to: "features", as: never},
	}))
}

// never leaves a value to another place of the translation.
func never(any) any { return nil }

// imageFeatures are the features of an image definition, each an attribute.
func imageFeatures(w *writer, n node) {
	var features []any
	add := func(attribute, name, value string) {
		if n.get(attribute).value == true {
			features = append(features, map[string]any{"name": name, "value": value})
		}
	}
	add("trusted_launch_supported", "SecurityType", "TrustedLaunchSupported")
	add("trusted_launch_enabled", "SecurityType", "TrustedLaunch")
	add("confidential_vm_supported", "SecurityType", "ConfidentialVmSupported")
	add("confidential_vm_enabled", "SecurityType", "ConfidentialVM")
	add("accelerated_network_support_enabled", "IsAcceleratedNetworkSupported", "true")
	add("hibernation_enabled", "IsHibernateSupported", "true")
	add("disk_controller_type_nvme_enabled", "DiskControllerTypes", "SCSI, NVMe")
	if features != nil {
		w.set("properties.features", features, "")
	}
}

func sharedImageVersion() []field {
	return concat(top(), fieldsIn("properties", []field{
		at("managed_image_id", "storageProfile.source.id"), at("os_disk_snapshot_id", "storageProfile.osDiskImage.source.id"),
		at("blob_uri", "storageProfile.osDiskImage.source.uri"), at("storage_account_id", "storageProfile.osDiskImage.source.storageAccountId"),
		at("exclude_from_latest", "publishingProfile.excludeFromLatest"), at("end_of_life_date", "publishingProfile.endOfLifeDate"),
		at("replication_mode", "publishingProfile.replicationMode"),
		at("deletion_of_replicated_locations_enabled", "safetyProfile.allowDeletionOfReplicatedLocations"),
		blocks("target_region", "publishingProfile.targetRegions", as("name", "name", location), at("regional_replica_count", "regionalReplicaCount"),
			at("storage_account_type", "storageAccountType"), at("disk_encryption_set_id", "encryption.osDiskImage.diskEncryptionSetId"),
			at("exclude_from_latest_enabled", "excludeFromLatest")),
		block("uefi_settings", "securityProfile.uefiSettings", at("signature_template_names", "signatureTemplateNames")),
	}))
}
