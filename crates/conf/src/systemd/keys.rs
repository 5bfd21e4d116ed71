//! The settings that systemd knows in the sections of sockets and services (systemd.directives(7), version 257), so that a slip
//! of the pen is told from what has no counterpart.

use super::unit::{Setting, boolean};
use crate::nearest::nearest;

const UNIT: &str = "Description Documentation Wants Requires Requisite BindsTo PartOf Upholds Conflicts Before After OnFailure \
    OnSuccess OnFailureJobMode OnSuccessJobMode PropagatesReloadTo ReloadPropagatedFrom PropagatesStopTo StopPropagatedFrom \
    JoinsNamespaceOf RequiresMountsFor WantsMountsFor IgnoreOnIsolate StopWhenUnneeded RefuseManualStart RefuseManualStop \
    AllowIsolate DefaultDependencies SurviveFinalKillSignal CollectMode FailureAction SuccessAction FailureActionExitStatus \
    SuccessActionExitStatus JobTimeoutSec JobRunningTimeoutSec JobTimeoutAction JobTimeoutRebootArgument \
    StartLimitIntervalSec StartLimitInterval StartLimitBurst StartLimitAction RebootArgument SourcePath \
    ConditionArchitecture ConditionFirmware ConditionVirtualization ConditionHost ConditionKernelCommandLine \
    ConditionKernelVersion ConditionVersion ConditionCredential ConditionEnvironment ConditionSecurity ConditionCapability \
    ConditionACPower ConditionNeedsUpdate ConditionFirstBoot ConditionPathExists ConditionPathExistsGlob \
    ConditionPathIsDirectory ConditionPathIsSymbolicLink ConditionPathIsMountPoint ConditionPathIsReadWrite \
    ConditionPathIsEncrypted ConditionPathIsSocket ConditionDirectoryNotEmpty ConditionFileNotEmpty ConditionFileIsExecutable \
    ConditionUser ConditionGroup ConditionControlGroupController ConditionMemory ConditionCPUs ConditionCPUFeature \
    ConditionOSRelease ConditionMemoryPressure ConditionCPUPressure ConditionIOPressure \
    AssertArchitecture AssertVirtualization AssertHost AssertKernelCommandLine AssertKernelVersion AssertSecurity \
    AssertCapability AssertACPower AssertNeedsUpdate AssertFirstBoot AssertPathExists AssertPathExistsGlob \
    AssertPathIsDirectory AssertPathIsSymbolicLink AssertPathIsMountPoint AssertPathIsReadWrite AssertDirectoryNotEmpty \
    AssertFileNotEmpty AssertFileIsExecutable AssertUser AssertGroup AssertControlGroupController";
const INSTALL: &str = "Alias WantedBy RequiredBy UpheldBy Also DefaultInstance";
const SOCKET: &str = "ListenStream ListenDatagram ListenSequentialPacket ListenFIFO ListenSpecial ListenNetlink \
    ListenMessageQueue ListenUSBFunction SocketProtocol BindIPv6Only Backlog BindToDevice SocketUser SocketGroup SocketMode \
    DirectoryMode Accept Writable FlushPending MaxConnections MaxConnectionsPerSource KeepAlive KeepAliveTimeSec \
    KeepAliveIntervalSec KeepAliveProbes NoDelay Priority DeferAcceptSec ReceiveBuffer SendBuffer IPTOS IPTTL Mark ReusePort \
    SmackLabel SmackLabelIPIn SmackLabelIPOut SELinuxContextFromNet PipeSize MessageQueueMaxMessages MessageQueueMessageSize \
    FreeBind Transparent Broadcast PassCredentials PassPIDFD PassSecurity PassPacketInfo AcceptFileDescriptors Timestamping \
    TCPCongestion ExecStartPre ExecStartPost ExecStopPre ExecStopPost TimeoutSec Service RemoveOnStop Symlinks \
    FileDescriptorName TriggerLimitIntervalSec TriggerLimitBurst PollLimitIntervalSec PollLimitBurst DeferTrigger \
    DeferTriggerMaxSec PassFileDescriptorsToExec";
const SERVICE: &str = "Type ExitType RemainAfterExit GuessMainPID PIDFile BusName ExecStart ExecStartPre ExecStartPost \
    ExecCondition ExecReload ExecReloadPost ExecStop ExecStopPost RestartSec RestartSteps RestartMaxDelaySec TimeoutStartSec \
    TimeoutStopSec TimeoutAbortSec TimeoutSec TimeoutStartFailureMode TimeoutStopFailureMode RuntimeMaxSec \
    RuntimeRandomizedExtraSec WatchdogSec Restart RestartMode SuccessExitStatus RestartPreventExitStatus \
    RestartForceExitStatus RootDirectoryStartOnly NonBlocking NotifyAccess Sockets FileDescriptorStoreMax \
    FileDescriptorStorePreserve USBFunctionDescriptors USBFunctionStrings OOMPolicy OpenFile ReloadSignal PermissionsStartOnly";
/// systemd.exec(5), systemd.kill(5), systemd.resource-control(5).
const SHARED: &str = "ExecSearchPath WorkingDirectory RootDirectory RootImage RootImageOptions RootEphemeral RootHash \
    RootHashSignature RootVerity RootImagePolicy MountImagePolicy ExtensionImagePolicy MountAPIVFS ProtectProc ProcSubset \
    BindPaths BindReadOnlyPaths MountImages ExtensionImages ExtensionDirectories BindLogSockets User Group DynamicUser \
    SupplementaryGroups SetLoginEnvironment PAMName CapabilityBoundingSet AmbientCapabilities NoNewPrivileges SecureBits \
    SELinuxContext AppArmorProfile SmackProcessLabel LimitCPU LimitFSIZE LimitDATA LimitSTACK LimitCORE LimitRSS LimitNOFILE \
    LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS LimitSIGPENDING LimitMSGQUEUE LimitNICE LimitRTPRIO LimitRTTIME UMask \
    CoredumpFilter KeyringMode OOMScoreAdjust TimerSlackNSec Personality IgnoreSIGPIPE Nice CPUSchedulingPolicy \
    CPUSchedulingPriority CPUSchedulingResetOnFork CPUAffinity NUMAPolicy NUMAMask IOSchedulingClass IOSchedulingPriority \
    ProtectSystem ProtectHome RuntimeDirectory StateDirectory CacheDirectory LogsDirectory ConfigurationDirectory \
    RuntimeDirectoryMode StateDirectoryMode CacheDirectoryMode LogsDirectoryMode ConfigurationDirectoryMode \
    RuntimeDirectoryPreserve TimeoutCleanSec ReadWritePaths ReadOnlyPaths InaccessiblePaths ExecPaths NoExecPaths \
    TemporaryFileSystem PrivateTmp PrivateDevices PrivateNetwork NetworkNamespacePath PrivateIPC IPCNamespacePath MemoryKSM \
    PrivatePIDs PrivateUsers ProtectHostname ProtectClock ProtectKernelTunables ProtectKernelModules ProtectKernelLogs \
    ProtectControlGroups RestrictAddressFamilies RestrictFileSystems RestrictNamespaces LockPersonality \
    MemoryDenyWriteExecute RestrictRealtime RestrictSUIDSGID RemoveIPC PrivateMounts MountFlags SystemCallFilter \
    SystemCallErrorNumber SystemCallArchitectures SystemCallLog Environment EnvironmentFile PassEnvironment UnsetEnvironment \
    StandardInput StandardOutput StandardError StandardInputText StandardInputData LogLevelMax LogExtraFields \
    LogRateLimitIntervalSec LogRateLimitBurst LogFilterPatterns LogNamespace SyslogIdentifier SyslogFacility SyslogLevel \
    SyslogLevelPrefix TTYPath TTYReset TTYVHangup TTYRows TTYColumns TTYVTDisallocate LoadCredential LoadCredentialEncrypted \
    ImportCredential SetCredential SetCredentialEncrypted UtmpIdentifier UtmpMode KillMode KillSignal RestartKillSignal \
    SendSIGHUP SendSIGKILL FinalKillSignal WatchdogSignal CPUAccounting CPUWeight StartupCPUWeight CPUQuota CPUQuotaPeriodSec \
    AllowedCPUs StartupAllowedCPUs MemoryAccounting MemoryMin MemoryLow MemoryHigh MemoryMax MemorySwapMax MemoryZSwapMax \
    MemoryZSwapWriteback AllowedMemoryNodes StartupAllowedMemoryNodes TasksAccounting TasksMax IOAccounting IOWeight \
    StartupIOWeight IODeviceWeight IOReadBandwidthMax IOWriteBandwidthMax IOReadIOPSMax IOWriteIOPSMax \
    IODeviceLatencyTargetSec IPAccounting IPAddressAllow IPAddressDeny SocketBindAllow SocketBindDeny \
    RestrictNetworkInterfaces NFTSet IPIngressFilterPath IPEgressFilterPath BPFProgram DeviceAllow DevicePolicy Slice \
    Delegate DelegateSubgroup DisableControllers ManagedOOMSwap ManagedOOMMemoryPressure ManagedOOMMemoryPressureLimit \
    ManagedOOMMemoryPressureDurationSec ManagedOOMPreference MemoryPressureWatch MemoryPressureThresholdSec CoredumpReceive";

fn of(section: &str) -> Vec<&'static str> {
    let tables: &[&'static str] = match section {
        "Unit" => &[UNIT],
        "Install" => &[INSTALL],
        "Socket" => &[SOCKET, SHARED],
        _ => &[SERVICE, SHARED],
    };
    tables.iter().flat_map(|table| table.split_ascii_whitespace()).collect()
}

/// Settings that keep somebody out or the program within bounds: without them it may do more than under systemd.
const KEEPS: &str = "NoNewPrivileges CapabilityBoundingSet SecureBits SELinuxContext SELinuxContextFromNet AppArmorProfile \
    SmackProcessLabel SmackLabel SmackLabelIPIn SmackLabelIPOut ProtectProc ProcSubset ProtectSystem ProtectHome ReadOnlyPaths \
    InaccessiblePaths ExecPaths NoExecPaths TemporaryFileSystem BindPaths BindReadOnlyPaths \
    PrivateTmp PrivateDevices PrivateNetwork NetworkNamespacePath \
    PrivateIPC IPCNamespacePath PrivatePIDs PrivateUsers PrivateMounts ProtectHostname ProtectClock ProtectKernelTunables \
    ProtectKernelModules ProtectKernelLogs ProtectControlGroups RestrictAddressFamilies RestrictFileSystems RestrictNamespaces \
    LockPersonality MemoryDenyWriteExecute RestrictRealtime RestrictSUIDSGID SystemCallFilter SystemCallArchitectures \
    KeyringMode UnsetEnvironment DeviceAllow DevicePolicy IPAddressAllow IPAddressDeny SocketBindAllow SocketBindDeny \
    RestrictNetworkInterfaces IPIngressFilterPath IPEgressFilterPath BPFProgram LimitFSIZE LimitCORE LimitNPROC LimitMEMLOCK \
    LimitSIGPENDING LimitMSGQUEUE LimitNICE LimitRTPRIO LimitRTTIME LimitLOCKS CPUQuota AllowedCPUs MemoryHigh MemoryMax \
    MemorySwapMax MemoryZSwapMax TasksMax RuntimeMaxSec SocketUser SocketGroup SocketMode DirectoryMode ExecCondition Requisite \
    RootImage RootDirectory LimitAS LimitCPU LimitDATA LimitRSS LimitSTACK LimitNOFILE StandardOutput StandardError DynamicUser";

/// Settings about systemd itself, and why nothing is lost with them.
const OURS: &[(&str, &str)] = &[
    (
        "After Before Wants DefaultDependencies CollectMode SourcePath IgnoreOnIsolate StopWhenUnneeded RefuseManualStart \
        RefuseManualStop AllowIsolate SurviveFinalKillSignal JobTimeoutSec JobRunningTimeoutSec JobTimeoutAction \
        JobTimeoutRebootArgument",
        "says when and how systemd starts the unit",
    ),
    ("Alias Also DefaultInstance", "says how systemd switches the unit on"),
    (
        "ExitType GuessMainPID PIDFile BusName NotifyAccess RemainAfterExit SuccessExitStatus Restart RestartSec RestartSteps \
        RestartMaxDelaySec RestartMode RestartPreventExitStatus RestartForceExitStatus TimeoutStartSec TimeoutStopSec \
        TimeoutAbortSec TimeoutSec TimeoutStartFailureMode TimeoutStopFailureMode WatchdogSec WatchdogSignal KillMode KillSignal \
        RestartKillSignal FinalKillSignal SendSIGHUP SendSIGKILL ReloadSignal StartLimitIntervalSec StartLimitInterval \
        StartLimitBurst OOMPolicy",
        "says how systemd watches over the program",
    ),
    ("RootDirectoryStartOnly PermissionsStartOnly", "portreeve runs the command of `ExecStart=` alone"),
    (
        "SyslogIdentifier SyslogFacility SyslogLevel SyslogLevelPrefix LogLevelMax LogExtraFields LogRateLimitIntervalSec \
        LogRateLimitBurst LogFilterPatterns LogNamespace",
        "is about the journal",
    ),
    (
        "CPUAccounting MemoryAccounting TasksAccounting IOAccounting IPAccounting Slice",
        "says how systemd accounts for the program",
    ),
];

/// Why portreeve does not do what some of those ask for.
const WHY: &[(&str, &str)] = &[
    (
        "SocketBindAllow SocketBindDeny RestrictNetworkInterfaces IPIngressFilterPath IPEgressFilterPath BPFProgram \
        AllowedCPUs MemoryZSwapMax",
        "is kept by a control group of the unit's own, and portreeve sets none of the kind",
    ),
    ("RestrictFileSystems", "is kept by a program in the kernel that portreeve does not load"),
    ("PrivatePIDs", "needs a namespace that a process cannot enter before it executes the program"),
    ("SELinuxContext AppArmorProfile SmackProcessLabel", "sets a label; see LABELED in `flags`"),
    (
        "NetworkNamespacePath IPCNamespacePath",
        "joins a namespace of another unit's; put ip-netns(8) or nsenter(1) before the program",
    ),
    ("RuntimeMaxSec", "ends the program after a time; put timeout(1) before it"),
];

/// Whether the loss of a setting lets somebody or something do more than under systemd.
pub(crate) fn keeps(key: &str) -> bool {
    KEEPS.split_ascii_whitespace().any(|known| known == key)
        // Of a later systemd, or misspelt: somebody believes in it.
        || ["Condition", "Assert", "Protect", "Private", "Restrict", "SystemCall"].iter().any(|start| key.starts_with(start))
}

/// What is said of a setting that nobody asked for, and whether something is lost with it; `None` for what was carried over,
/// takes something back, or is nobody's.
pub(crate) fn left(setting: &Setting) -> Option<(bool, String)> {
    let Setting { section, key, value, .. } = setting;
    let nobodys = section.starts_with("X-")
        || key.starts_with("X-")
        // A wrong section was told of at its head.
        || !["Unit", "Install", "Socket", "Service"].contains(&section.as_str());
    // The text of the one is in the comments, and the other has been looked at.
    let carried = matches!(
        (section.as_str(), key.as_str()),
        ("Unit", "Description" | "Documentation") | ("Install", "WantedBy" | "RequiredBy" | "UpheldBy")
    );
    if nobodys || carried || value.is_empty() {
        return None;
    }
    let known = of(section);
    if !known.contains(&key.as_str()) {
        let help = match nearest(key, known.iter().copied()) {
            Some(near) => format!("; did you mean `{near}=`?"),
            None => String::new(),
        };
        return Some((true, format!("there is no setting `{key}=` in `[{section}]`{help}")));
    }
    let ours = OURS.iter().find(|(keys, _)| keys.split_ascii_whitespace().any(|known| known == key));
    if let Some((_, why)) = ours {
        return Some((false, format!("`{key}=` {why}: nothing is lost with it")));
    }
    // `AllowedCPUs=0` is a processor.
    let off = key != "AllowedCPUs" && boolean(value) == Some(false);
    let unlimited = value == "infinity" || off;
    Some(match keeps(key) {
        true if unlimited => (false, format!("`{key}={value}` asks for nothing")),
        true => (
            true,
            match WHY.iter().find(|(keys, _)| keys.split_ascii_whitespace().any(|known| known == key)) {
                Some((_, why)) => format!("`{key}=` {why}: more is allowed than under systemd"),
                None => format!(
                    "`{key}=` has no counterpart in portreeve: without it more is allowed than under systemd"
                ),
            },
        ),
        false => (true, format!("`{key}=` has no counterpart in portreeve")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A word of the other tables that is in no section's would never be found.
    #[test]
    fn what_is_judged_is_known() {
        let known = ["Unit", "Install", "Socket", "Service"].map(of).concat();
        let judged = OURS.iter().chain(WHY).flat_map(|(keys, _)| keys.split_ascii_whitespace());
        for key in judged.chain(KEEPS.split_ascii_whitespace()) {
            assert!(known.contains(&key), "{key}");
        }
    }
}
