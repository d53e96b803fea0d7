package tfplan

// machine are the attributes that Linux and Windows machines share.
func machine(os string) []field {
	return concat(top(), fieldsIn("properties", concat(imageReference(), security(), []field{
		at("size", "hardwareProfile.vmSize"), osDisk(os), at("os_managed_disk_id", "storageProfile.osDisk.managedDisk.id"),
		at("disk_controller_type", "storageProfile.diskControllerType"),
		members("network_interface_ids", "networkProfile.networkInterfaces", "id"), bootDiagnostics(),
		at("license_type", "licenseType"), at("priority", "priority"), at("eviction_policy", "evictionPolicy"), as("max_bid_price", "billingProfile.maxPrice", notMinusOne),
		at("availability_set_id", "availabilitySet.id"), at("proximity_placement_group_id", "proximityPlacementGroup.id"),
		at("capacity_reservation_group_id", "capacityReservation.capacityReservationGroup.id"), at("dedicated_host_id", "host.id"),
		at("dedicated_host_group_id", "hostGroup.id"), at("virtual_machine_scale_set_id", "virtualMachineScaleSet.id"),
		as("platform_fault_domain", "platformFaultDomain", notMinusOne), at("extensions_time_budget", "extensionsTimeBudget"), at("user_data", "userData"),
		block("additional_capabilities", "additionalCapabilities", at("ultra_ssd_enabled", "ultraSSDEnabled"), at("hibernation_enabled", "hibernationEnabled")),
		at("allow_extension_operations", "osProfile.allowExtensionOperations"), blocks("gallery_application", "applicationProfile.galleryApplications", galleryApplication()...),
		block("termination_notification", "scheduledEventsProfile.terminateNotificationProfile", at("enabled", "enable"), at("timeout", "notBeforeTimeout")),
		block("os_image_notification", "scheduledEventsProfile.osImageNotificationProfile", constant("enable", true), at("timeout", "notBeforeTimeout")),
	}, fieldsIn("osProfile", login()))), []field{as("zone", "zones", one)})
}

func galleryApplication() []field {
	return []field{at("version_id", "packageReferenceId"), at("configuration_blob_uri", "configurationReference"), at("order", "order"), at("tag", "tags"),
		at("automatic_upgrade_enabled", "enableAutomaticUpgrade"), at("treat_failure_as_deployment_failure_enabled", "treatFailureAsDeploymentFailure")}
}

func linuxVM() []field {
	return concat(machine("Linux"), fieldsIn("properties.osProfile.linuxConfiguration", linuxConfiguration()))
}

func windowsVM() []field {
	return concat(machine("Windows"), fieldsIn("properties.osProfile.windowsConfiguration", windowsConfiguration()))
}

// legacyVM is azurerm_virtual_machine, whose blocks are ARM's under other names.
func legacyVM() []field {
	disk := []field{
		at("name", "name"), at("caching", "caching"), at("create_option", "createOption"), at("disk_size_gb", "diskSizeGB"), at("image_uri", "image.uri"),
		at("managed_disk_id", "managedDisk.id"), at("managed_disk_type", "managedDisk.storageAccountType"), at("vhd_uri", "vhd.uri"),
		at("write_accelerator_enabled", "writeAcceleratorEnabled"),
	}
	return concat(top(), fieldsIn("properties", []field{
		at("vm_size", "hardwareProfile.vmSize"), at("license_type", "licenseType"), at("availability_set_id", "availabilitySet.id"),
		at("proximity_placement_group_id", "proximityPlacementGroup.id"),
		block("storage_image_reference", "storageProfile.imageReference", at("id", "id"), at("publisher", "publisher"), at("offer", "offer"), at("sku", "sku"), at("version", "version")),
		block("storage_os_disk", "storageProfile.osDisk", append(disk, at("os_type", "osType"))...),
		blocks("storage_data_disk", "storageProfile.dataDisks", append(disk, at("lun", "lun"))...),
		block("os_profile", "osProfile", login()...),
		block("os_profile_linux_config", "osProfile.linuxConfiguration", at("disable_password_authentication", "disablePasswordAuthentication"),
			blocks("ssh_keys", "ssh.publicKeys", at("key_data", "keyData"), at("path", "path"))),
		block("os_profile_windows_config", "osProfile.windowsConfiguration", at("provision_vm_agent", "provisionVMAgent"), at("enable_automatic_upgrades", "enableAutomaticUpdates"),
			at("timezone", "timeZone"), blocks("winrm", "winRM.listeners", at("protocol", "protocol"), at("certificate_url", "certificateUrl"))),
		members("network_interface_ids", "networkProfile.networkInterfaces", "id"),
		block("boot_diagnostics", "diagnosticsProfile.bootDiagnostics", at("enabled", "enabled"), at("storage_uri", "storageUri")),
		block("additional_capabilities", "additionalCapabilities", at("ultra_ssd_enabled", "ultraSSDEnabled")),
	}), []field{at("zones", "zones")})
}

func linuxOS() []field {
	return concat([]field{osDisk("Linux")}, fieldsIn("osProfile.linuxConfiguration", linuxConfiguration()))
}

func windowsOS() []field {
	return concat([]field{osDisk("Windows")}, fieldsIn("osProfile.windowsConfiguration", windowsConfiguration()))
}

// set are the attributes that every scale set has.
func set() []field {
	return concat(top(), []field{at("zones", "zones"), at("instances", "sku.capacity")}, fieldsIn("properties", []field{
		at("upgrade_mode", "upgradePolicy.mode"), at("single_placement_group", "singlePlacementGroup"), at("zone_balance", "zoneBalance"),
		at("platform_fault_domain_count", "platformFaultDomainCount"), at("proximity_placement_group_id", "proximityPlacementGroup.id"),
		block("automatic_instance_repair", "automaticRepairsPolicy", at("enabled", "enabled"), at("grace_period", "gracePeriod"), at("action", "repairAction")),
		block("additional_capabilities", "additionalCapabilities", at("ultra_ssd_enabled", "ultraSSDEnabled")),
		block("rolling_upgrade_policy", "upgradePolicy.rollingUpgradePolicy", rolling()...),
	}), fieldsIn("properties.virtualMachineProfile", concat(imageReference(), security(), []field{
		setDataDisks(), bootDiagnostics(), blocks("network_interface", "networkProfile.networkInterfaceConfigurations", networkInterface()...),
		at("license_type", "licenseType"), at("priority", "priority"), at("eviction_policy", "evictionPolicy"), as("max_bid_price", "billingProfile.maxPrice", notMinusOne),
		at("capacity_reservation_group_id", "capacityReservation.capacityReservationGroup.id"), at("user_data", "userData"), at("user_data_base64", "userData"),
		at("extension_operations_enabled", "osProfile.allowExtensionOperations"), at("extensions_time_budget", "extensionProfile.extensionsTimeBudget"),
		blocks("extension", "extensionProfile.extensions", extension("properties.")...),
		block("termination_notification", "scheduledEventsProfile.terminateNotificationProfile", at("enabled", "enable"), at("timeout", "notBeforeTimeout")),
	})))
}

func rolling() []field {
	return []field{
		at("max_batch_instance_percent", "maxBatchInstancePercent"), at("max_unhealthy_instance_percent", "maxUnhealthyInstancePercent"),
		at("max_unhealthy_upgraded_instance_percent", "maxUnhealthyUpgradedInstancePercent"), at("pause_time_between_batches", "pauseTimeBetweenBatches"),
		at("cross_zone_upgrades_enabled", "enableCrossZoneUpgrade"), at("prioritize_unhealthy_instances_enabled", "prioritizeUnhealthyInstances"),
		at("maximum_surge_instances_enabled", "maxSurge"),
	}
}

func networkInterface() []field {
	return []field{
		at("name", "name"), at("primary", "properties.primary"), at("enable_accelerated_networking", "properties.enableAcceleratedNetworking"),
		at("accelerated_networking_enabled", "properties.enableAcceleratedNetworking"), at("enable_ip_forwarding", "properties.enableIPForwarding"),
		at("ip_forwarding_enabled", "properties.enableIPForwarding"), at("network_security_group_id", "properties.networkSecurityGroup.id"),
		at("dns_servers", "properties.dnsSettings.dnsServers"), at("auxiliary_mode", "properties.auxiliaryMode"), at("auxiliary_sku", "properties.auxiliarySku"),
		blocks("ip_configuration", "properties.ipConfigurations", at("name", "name"), at("primary", "properties.primary"), at("subnet_id", "properties.subnet.id"),
			at("version", "properties.privateIPAddressVersion"),
			members("application_gateway_backend_address_pool_ids", "properties.applicationGatewayBackendAddressPools", "id"),
			members("application_security_group_ids", "properties.applicationSecurityGroups", "id"),
			members("load_balancer_backend_address_pool_ids", "properties.loadBalancerBackendAddressPools", "id"),
			members("load_balancer_inbound_nat_rules_ids", "properties.loadBalancerInboundNatPools", "id"),
			block("public_ip_address", "properties.publicIPAddressConfiguration", at("name", "name"), at("domain_name_label", "properties.dnsSettings.domainNameLabel"),
				at("idle_timeout_in_minutes", "properties.idleTimeoutInMinutes"), at("public_ip_prefix_id", "properties.publicIPPrefix.id"),
				at("sku_name", "sku.name"), at("version", "properties.publicIPAddressVersion"))),
	}
}

func uniformSet(os []field) []field {
	return concat(set(), []field{at("sku", "sku.name")}, fieldsIn("properties", []field{
		constant("orchestrationMode", "Uniform"), at("overprovision", "overprovision"), at("host_group_id", "hostGroup.id"),
		at("do_not_run_extensions_on_overprovisioned_machines", "doNotRunExtensionsOnOverprovisionedVMs"),
		block("automatic_os_upgrade_policy", "upgradePolicy.automaticOSUpgradePolicy", at("enable_automatic_os_upgrade", "enableAutomaticOSUpgrade"),
			as("disable_automatic_rollback", "disableAutomaticRollback", nil)),
		block("spot_restore", "spotRestorePolicy", at("enabled", "enabled"), at("timeout", "restoreTimeout")),
		block("scale_in", "scaleInPolicy", as("rule", "rules", one), at("force_deletion_enabled", "forceDeletion")),
		as("resilient_vm_creation_enabled", "resiliencyPolicy.resilientVMCreationPolicy.enabled", onlyTrue),
		as("resilient_vm_deletion_enabled", "resiliencyPolicy.resilientVMDeletionPolicy.enabled", onlyTrue),
	}), fieldsIn("properties.virtualMachineProfile", concat(os, fieldsIn("osProfile", login()), []field{
		at("health_probe_id", "networkProfile.healthProbe.id"), blocks("gallery_application", "applicationProfile.galleryApplications", galleryApplication()...),
	})))
}

func flexibleSet() []field {
	return concat(set(), []field{at("sku_name", "sku.name")}, fieldsIn("properties", []field{
		constant("orchestrationMode", "Flexible"),
		block("priority_mix", "priorityMixPolicy", at("base_regular_count", "baseRegularPriorityCount"), at("regular_percentage_above_base", "regularPriorityPercentageAboveBase")),
		block("sku_profile", "skuProfile", at("allocation_strategy", "allocationStrategy"), members("vm_sizes", "vmSizes", "name")),
	}), fieldsIn("properties.virtualMachineProfile", []field{
		osDisk(""),
		block("os_profile", "osProfile", at("custom_data", "customData"),
			block("linux_configuration", "", concat(login(), fieldsIn("linuxConfiguration", linuxConfiguration()))...),
			block("windows_configuration", "", concat(login(), fieldsIn("windowsConfiguration", windowsConfiguration()))...)),
	}))
}
