//! One line of text for a decoded message: what captures, logs and test vectors show.

use std::fmt::{Display, Formatter, Result};

use super::{Content, Data, Feedback, Header, Message, PacketReport, Repair, Results};

impl Display for Header {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "cid={} pn={}",
            self.connection.value(),
            self.packet_number
        )
    }
}

impl Display for Message<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Data(data) => data.fmt(f),
            Self::Repair(repair) => repair.fmt(f),
            Self::Feedback(feedback) => feedback.fmt(f),
            Self::Result(results) => results.fmt(f),
            Self::Ping(ping) => {
                write!(
                    f,
                    "PING timestamp={} padding={}",
                    ping.report_timestamp, ping.padding
                )
            }
            Self::Padding(zeros) => write!(f, "PADDING padding={zeros}"),
            Self::PathChallenge(data) => {
                write!(f, "PATH_CHALLENGE data={:016x}", u64::from_be_bytes(data.0))
            }
            Self::PathResponse(data) => {
                write!(f, "PATH_RESPONSE data={:016x}", u64::from_be_bytes(data.0))
            }
            Self::Close(close) => {
                write!(
                    f,
                    "CLOSE code={} reason={:?}",
                    close.code.code(),
                    close.reason
                )
            }
        }
    }
}

impl Display for Data<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let head = &self.head;
        write!(
            f,
            "DATA tensor={} frame={} captured={} packet={}/{} interleaver={:?}",
            head.tensor_id,
            head.frame_number,
            head.capture_timestamp,
            head.packet_index,
            head.packet_count,
            head.interleaver
        )?;
        if u32::from(head.packet_index) + 1 == head.packet_count {
            f.write_str(" end")?;
        }
        if head.coding.delta {
            f.write_str(" delta")?;
        }
        if head.coding.step > 0 {
            write!(f, " step={}", head.coding.step)?;
        }
        if let Some(notice) = head.notice {
            write!(
                f,
                " notice={:?}:{}+{}",
                notice.reason, notice.first, notice.count
            )?;
        }
        match self.content {
            Content::Slices(slices) => {
                write!(f, " position={} lengths=", head.first_position)?;
                for (i, slice) in slices.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { "," }, slice.len())?;
                }
                Ok(())
            }
            Content::Fragment {
                offset,
                slice_length,
                payload,
            } => write!(
                f,
                " position={} fragment={offset}+{}/{slice_length}",
                head.first_position,
                payload.len()
            ),
        }
    }
}

impl Display for Repair<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "REPAIR tensor={} span={} block={}/{} k={} repair={}/{}",
            self.tensor_id,
            self.span,
            self.block_index,
            self.block_count,
            self.k,
            self.repair_index,
            self.repair_count
        )?;
        for (i, count) in self.source_counts.iter().enumerate() {
            write!(f, "{}{count}", if i == 0 { " sources=" } else { "," })?;
        }
        write!(f, " symbol={}B", self.symbol.len())
    }
}

impl Display for Feedback<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "FEEDBACK timestamp={} begin={} packets=",
            self.report_timestamp, self.begin
        )?;
        for (i, report) in self.arrivals.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match report {
                PacketReport::Missing => write!(f, "{comma}-")?,
                PacketReport::Received {
                    ecn,
                    age: Some(age),
                } => {
                    write!(f, "{comma}{}us:{}", age.as_micros(), ecn as u8)?;
                }
                PacketReport::Received { ecn, age: None } => write!(f, "{comma}old:{}", ecn as u8)?,
            }
        }
        f.write_str(" releases=")?;
        for (i, release) in self.releases.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(
                f,
                "{comma}{}:{}:{}",
                release.tensor_id, release.reason, release.missing
            )?;
        }
        if let Some(load) = self.load {
            write!(
                f,
                " queue={} service={}us admission={}us",
                load.queue_length, load.service_micros, load.admission_micros
            )?;
        }
        Ok(())
    }
}

impl Display for Results<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("RESULT")?;
        for result in self.iter() {
            write!(
                f,
                " [tensor={} frame={} reason={} missing={} status={} compute={}us payload={}B]",
                result.tensor_id,
                result.frame_number,
                result.reason,
                result.missing,
                result.status.code(),
                result.compute_micros,
                result.payload.len()
            )?;
        }
        Ok(())
    }
}
