//! Kafka's jars, from Maven's repository. Needs `java` (17 or later) and `mvn`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The version that is tested against.
const VERSION: &str = "4.1.0";
/// What Kafka writes its log with, in the version it is built with.
const LOG4J: &str = "2.24.3";

/// The folder with the jars.
pub fn jars() -> anyhow::Result<PathBuf> {
    super::once(&format!("kafka-{VERSION}"), install)
}

fn install(folder: &Path) -> anyhow::Result<()> {
    let build = tempfile::tempdir()?;
    std::fs::write(build.path().join("pom.xml"), pom())?;
    std::fs::write(folder.join("log4j2.properties"), LOGGING)?;
    let mut output = std::ffi::OsString::from("-DoutputDirectory=");
    output.push(folder);
    super::run(
        "mvn",
        &["-q", "-B", "dependency:copy-dependencies"]
            .map(OsStr::new)
            .into_iter()
            .chain([output.as_os_str()])
            .collect::<Vec<_>>(),
        build.path(),
    )?;
    Ok(())
}

fn pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    };
    format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>skywave</groupId><artifactId>kafka</artifactId><version>1</version>\
         <dependencies>{}{}{}</dependencies></project>",
        dependency("org.apache.kafka", "kafka_2.13", VERSION),
        dependency("org.apache.kafka", "kafka-tools", VERSION),
        dependency("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J),
    )
}

const LOGGING: &str = "\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %p %c{1}: %m%n
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
logger.group.name = org.apache.kafka.coordinator.group
logger.group.level = INFO
logger.server.name = kafka.server.BrokerServer
logger.server.level = INFO
";
